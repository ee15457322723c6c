-- Windmill's accounts in MySQL 8 or MariaDB 10.5 or newer: run once by who may make roles, after schema.mysql.sql.
-- Safe to run twice: mysql DATABASE < roles.mysql.sql. Each worker's account is made a member of windmill_worker,
-- whoever only watches one of windmill_monitor (docs/security.md).

CREATE ROLE IF NOT EXISTS windmill_worker, windmill_monitor;
GRANT INSERT, DELETE, SELECT (timestamp) ON worker_heartbeats TO windmill_worker;  -- it deletes by age
GRANT SELECT ON worker_heartbeats TO windmill_monitor;
