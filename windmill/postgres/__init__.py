"""PostgreSQL: the store, the ledger, the images, the tables, and the broker of BROKER=postgres.

The only package that knows psycopg2.
"""
