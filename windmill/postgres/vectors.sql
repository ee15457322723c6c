-- Vectors of images in a table for each index, with the extension vector (pgvector 0.8 or later).

-- name: vector_extension
-- The version that this database has, and the one that the server could give it.
SELECT (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
       (SELECT default_version FROM pg_available_extensions WHERE name = 'vector');

-- name: create_vector_extension
CREATE EXTENSION IF NOT EXISTS vector;

-- name: vectors_lock
-- For as long as the transaction lasts, one makes what there is to be made.
SELECT pg_advisory_xact_lock(hashtextextended(%(table)s, 0));

-- name: vectors_create
-- A vector stays in its row as long as a page has room for it: elsewhere, each comparison would have to go there.
CREATE TABLE {table} (
    image_id bigint PRIMARY KEY,
    path text NOT NULL,
    embedding vector(%(dimension)s) NOT NULL
) WITH (toast_tuple_target = 8160);

-- name: vectors_describe
COMMENT ON TABLE {table} IS %(about)s;

-- name: vectors_about
SELECT to_regclass(%(table)s) IS NOT NULL, obj_description(to_regclass(%(table)s), 'pg_class');

-- name: vectors_has_index
SELECT to_regclass(%(index)s) IS NOT NULL;

-- name: vectors_index
-- Of halves: half the memory, and vector itself has no graphs for more than 2,000 dimensions. What it finds is
-- compared exactly after that.
CREATE INDEX {index} ON {table} USING hnsw ((embedding::halfvec(%(dimension)s)) halfvec_ip_ops);

-- name: vectors_index_settings
-- The graph is made several times as fast in memory; by one process, for several would share /dev/shm, of which
-- containers have little.
SELECT set_config('maintenance_work_mem', %(memory)s, true), set_config('max_parallel_maintenance_workers', '0', true);

-- name: vectors_incoming
CREATE TEMPORARY TABLE incoming (LIKE {table}) ON COMMIT DROP;

-- name: vectors_copy
COPY incoming FROM STDIN (FORMAT binary);

-- name: vectors_upsert
-- In one order, so that no two writers wait for each other.
INSERT INTO {table} (image_id, path, embedding) SELECT image_id, path, embedding FROM incoming ORDER BY image_id
ON CONFLICT (image_id) DO UPDATE SET path = EXCLUDED.path, embedding = EXCLUDED.embedding;

-- name: vectors_delete
DELETE FROM {table} WHERE image_id = ANY (%(ids)s::bigint[]);

-- name: vectors_fetch
SELECT image_id, path, vector_send(embedding) FROM {table} WHERE image_id = ANY (%(ids)s::bigint[]) ORDER BY image_id;

-- name: vectors_scan
SELECT image_id, path, vector_send(embedding) FROM {table} WHERE image_id > %(after)s ORDER BY image_id LIMIT %(limit)s;

-- name: vectors_count
SELECT count(*) FROM {table};

-- name: vectors_nearest
-- Exactly: no graph is in the order of two columns.
SELECT image_id, path, -(embedding <#> %(query)s::vector) AS score FROM {table}
ORDER BY embedding <#> %(query)s::vector, image_id
LIMIT %(limit)s;

-- name: vectors_nearest_among
-- Exactly, of these. A join with them might have all vectors copied into a hash first.
SELECT image_id, path, -(embedding <#> %(query)s::vector) AS score FROM {table}
WHERE image_id = ANY (%(ids)s::bigint[])
ORDER BY embedding <#> %(query)s::vector, image_id
LIMIT %(limit)s;

-- name: vectors_graph_settings
-- strict_order: a filter that leaves few makes the search go on, in the order of the distance.
SELECT set_config('hnsw.ef_search', %(effort)s, true), set_config('hnsw.iterative_scan', 'strict_order', true),
       set_config('hnsw.max_scan_tuples', %(most)s, true);

-- name: vectors_near
-- By the graph: `pool` of them, compared exactly.
WITH near AS MATERIALIZED (
    SELECT image_id, path, embedding FROM {table}
    ORDER BY embedding::halfvec(%(dimension)s) <#> %(query)s::halfvec(%(dimension)s)
    LIMIT %(pool)s
)
SELECT image_id, path, -(embedding <#> %(query)s::vector) AS score FROM near ORDER BY score DESC, image_id
LIMIT %(limit)s;

-- name: vectors_near_among
WITH near AS MATERIALIZED (
    SELECT image_id, path, embedding FROM {table} WHERE image_id = ANY (%(ids)s::bigint[])
    ORDER BY embedding::halfvec(%(dimension)s) <#> %(query)s::halfvec(%(dimension)s)
    LIMIT %(pool)s
)
SELECT image_id, path, -(embedding <#> %(query)s::vector) AS score FROM near ORDER BY score DESC, image_id
LIMIT %(limit)s;
