-- Every statement that Windmill sends, by name. `VALUES %s` takes many rows at once (execute_values).

-- name: save_results
INSERT INTO results AS r (image_id, service, data, status, processing_time, worker_id, service_types, bbox_format)
VALUES %s
ON CONFLICT (image_id, service) DO UPDATE
SET data = excluded.data, status = excluded.status, processing_time = excluded.processing_time,
    worker_id = excluded.worker_id, service_types = excluded.service_types,
    bbox_format = excluded.bbox_format, result_created = now()
WHERE r.status <> 'success' OR excluded.status = 'success';

-- name: settle_dispatches
INSERT INTO dispatches AS d (image_id, service, state, found, last_error, settled_at)
VALUES %s
ON CONFLICT (image_id, service) DO UPDATE
SET state = excluded.state, found = excluded.found, last_error = excluded.last_error, settled_at = now()
WHERE d.state <> 'done' OR excluded.state = 'done';

-- name: delete_other_boxes
DELETE FROM merged_boxes m
USING (VALUES %s) AS kept (image_id, box_keys)
WHERE m.image_id = kept.image_id AND NOT m.box_key = ANY (kept.box_keys);

-- name: save_boxes
INSERT INTO merged_boxes AS m (image_id, box_key, source_result_ids, merged_data, worker_id)
VALUES %s
ON CONFLICT (image_id, box_key) DO UPDATE
SET source_result_ids = excluded.source_result_ids, merged_data = excluded.merged_data,
    worker_id = excluded.worker_id, created = now()
WHERE m.merged_data <> excluded.merged_data;

-- name: save_consensus
INSERT INTO consensus AS c (image_id, consensus_data, processing_time, worker_id)
VALUES %s
ON CONFLICT (image_id) DO UPDATE
SET consensus_data = excluded.consensus_data, processing_time = excluded.processing_time,
    worker_id = excluded.worker_id, consensus_created = now();

-- name: box_ids
SELECT m.image_id, m.box_key, m.merged_id
FROM merged_boxes m JOIN (VALUES %s) AS wanted (image_id, box_key) USING (image_id, box_key)
FOR KEY SHARE OF m;

-- name: save_box_postprocessing
INSERT INTO postprocessing AS p (image_id, merged_box_id, service, data, status, worker_id)
VALUES %s
ON CONFLICT (merged_box_id, service) WHERE merged_box_id IS NOT NULL DO UPDATE
SET data = excluded.data, status = excluded.status, worker_id = excluded.worker_id, result_created = now()
WHERE p.status <> 'success' OR excluded.status = 'success';

-- name: save_image_postprocessing
INSERT INTO postprocessing AS p (image_id, merged_box_id, service, data, status, worker_id)
VALUES %s
ON CONFLICT (image_id, service) WHERE merged_box_id IS NULL DO UPDATE
SET data = excluded.data, status = excluded.status, worker_id = excluded.worker_id, result_created = now()
WHERE p.status <> 'success' OR excluded.status = 'success';

-- name: lock_images
-- The two-key form has a lock space of its own: 1 is Windmill's images; two images that share the low half
-- of their ids only take turns needlessly.
SELECT pg_advisory_xact_lock(1, (image_id & 2147483647)::int)
FROM unnest(%(image_ids)s::bigint[]) AS image_id
ORDER BY image_id & 2147483647;

-- name: snapshot_images
SELECT image_id, image_path, image_url FROM images WHERE image_id = ANY (%(image_ids)s) ORDER BY image_id;

-- name: snapshot_replies
SELECT image_id, result_id, result_created, service, service_types, bbox_format, data
FROM results
WHERE image_id = ANY (%(image_ids)s) AND status = 'success'
ORDER BY image_id, service;

-- name: snapshot_boxes
SELECT m.image_id, m.box_key, m.merged_data,
       ARRAY (SELECT p.service FROM postprocessing p WHERE p.merged_box_id = m.merged_id) AS postprocessed
FROM merged_boxes m
WHERE m.image_id = ANY (%(image_ids)s)
ORDER BY m.image_id, m.merged_id;

-- name: missing
-- An image lacks a service when there is neither a result nor a job under way.
SELECT i.image_id, i.image_path, i.image_url, lacking.services
FROM images i
CROSS JOIN LATERAL (
    SELECT array_agg(s.service ORDER BY s.position) AS services
    FROM unnest(%(services)s::text[]) WITH ORDINALITY AS s (service, position)
    WHERE NOT %(resume)s
       OR (NOT EXISTS (SELECT 1 FROM results r WHERE r.image_id = i.image_id AND r.service = s.service)
           AND NOT EXISTS (SELECT 1 FROM dispatches d
                           WHERE d.image_id = i.image_id AND d.service = s.service AND d.state = 'queued'))
) AS lacking
WHERE (%(group)s::text IS NULL OR i.image_group = %(group)s) AND lacking.services IS NOT NULL
ORDER BY i.image_id
LIMIT %(limit)s;

-- name: count_missing
SELECT count(*) FROM ({missing}) AS lacking;

-- name: record_dispatches
-- What a worker settled since it was sent stays settled.
INSERT INTO dispatches AS d (image_id, service, dispatched_at)
VALUES %s
ON CONFLICT (image_id, service) DO UPDATE
SET state = 'queued', dispatched_at = excluded.dispatched_at, settled_at = NULL, found = NULL,
    last_error = NULL
WHERE d.settled_at IS NULL OR d.settled_at < excluded.dispatched_at;

-- name: server_time
SELECT clock_timestamp();

-- name: groups
SELECT image_group, count(*) FROM images GROUP BY image_group ORDER BY image_group;

-- name: known_images
SELECT content_hash, image_id FROM images WHERE content_hash = ANY (%(hashes)s);

-- name: add_images
INSERT INTO images (image_filename, image_path, image_url, image_group, content_hash, width, height)
VALUES %s
ON CONFLICT (content_hash) DO NOTHING
RETURNING content_hash, image_id;

-- name: publish_jobs
INSERT INTO jobs (queue, body) VALUES %s;

-- name: notify
SELECT pg_notify(queue, '') FROM unnest(%(queues)s::text[]) AS queue;

-- name: listen
LISTEN {queue};

-- name: new_holder
SELECT nextval('job_holders');

-- name: hold
-- 2 is the lock space of live sessions that hold jobs.
SELECT pg_advisory_lock(2, (%(holder)s & 2147483647)::int);

-- name: free_dead_holders
UPDATE jobs SET holder = NULL
WHERE queue = %(queue)s AND holder IS NOT NULL
  AND holder & 2147483647 NOT IN (
      SELECT l.objid::bigint FROM pg_locks l
      WHERE l.locktype = 'advisory' AND l.classid = 2 AND l.objsubid = 2
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()));

-- name: bury_undeliverable
WITH dead AS (
    DELETE FROM jobs WHERE queue = %(queue)s AND holder IS NULL AND deliveries > %(limit)s RETURNING *
)
INSERT INTO dead_jobs (job_id, queue, body, attempt, error, reason)
SELECT job_id, queue, body, attempt, 'DeliveryLimit',
       'handed out ' || deliveries || ' times and never settled: it may be killing its workers'
FROM dead;

-- name: take_jobs
WITH next AS (
    SELECT job_id FROM jobs
    WHERE queue = %(queue)s AND holder IS NULL AND available_at <= now()
    ORDER BY available_at, job_id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET holder = %(holder)s, deliveries = deliveries + 1
FROM next WHERE jobs.job_id = next.job_id
RETURNING jobs.job_id, jobs.body, jobs.attempt, jobs.deliveries;

-- name: seconds_until_next
SELECT extract(epoch FROM min(available_at) - clock_timestamp())
FROM jobs WHERE queue = %(queue)s AND holder IS NULL;

-- name: ack_jobs
DELETE FROM jobs USING (VALUES %s) AS done (job_id, holder)
WHERE jobs.job_id = done.job_id AND jobs.holder = done.holder;

-- name: again_jobs
UPDATE jobs SET holder = NULL, attempt = again.attempt, deliveries = 0,
                available_at = now() + again.delay * interval '1 second'
FROM (VALUES %s) AS again (job_id, attempt, delay, holder)
WHERE jobs.job_id = again.job_id AND jobs.holder = again.holder;

-- name: bury_jobs
WITH burial (job_id, error, reason, holder) AS (VALUES %s),
dead AS (
    DELETE FROM jobs USING burial
    WHERE jobs.job_id = burial.job_id AND jobs.holder = burial.holder
    RETURNING jobs.job_id, jobs.queue, jobs.body, jobs.attempt, burial.error, burial.reason
)
INSERT INTO dead_jobs (job_id, queue, body, attempt, error, reason) SELECT * FROM dead;

-- name: give_back
UPDATE jobs SET holder = NULL, deliveries = deliveries - (job_id = ANY (%(untouched)s))::int
WHERE holder = %(holder)s AND job_id = ANY (%(jobs)s);

-- name: queue_depths
SELECT queue, count(*) FROM jobs
WHERE queue = ANY (%(queues)s) AND holder IS NULL AND available_at <= now()
GROUP BY queue;

-- name: database_exists
SELECT 1 FROM pg_database WHERE datname = %(name)s;

-- name: create_database
CREATE DATABASE {name};

-- name: run_progress
SELECT (SELECT count(*) FROM dispatches WHERE state <> 'queued') + (SELECT count(*) FROM postprocessing),
       (SELECT count(*) FROM dispatches) + (SELECT count(*) FROM postprocessing)
           + (SELECT count(*) FROM jobs WHERE queue LIKE 'queue\_bbox\_%%' AND queue <> 'queue_bbox_merge'),
       (SELECT count(*) FROM jobs);

-- name: findings
-- One row an image, each list as JSON: votes, boxes, faces (in image pixels), colours, text and errors.
SELECT i.image_id, i.image_filename, i.image_path, i.width, i.height,
       (SELECT jsonb_agg(jsonb_build_array(
                   v.vote ->> 'emoji',
                   coalesce((SELECT m.merged_data ->> 'label' FROM merged_boxes m
                             WHERE m.image_id = i.image_id AND m.merged_data ->> 'emoji' = v.vote ->> 'emoji'
                             LIMIT 1), ''),
                   (v.vote ->> 'votes')::int) ORDER BY v.position)
        FROM consensus c, jsonb_array_elements(c.consensus_data -> 'votes' -> 'consensus')
             WITH ORDINALITY AS v (vote, position)
        WHERE c.image_id = i.image_id) AS votes,
       (SELECT jsonb_agg(jsonb_build_array(m.merged_data ->> 'label', m.merged_data -> 'bbox',
                                           (m.merged_data ->> 'detection_count')::int,
                                           (m.merged_data ->> 'score')::float)
                         ORDER BY (m.merged_data ->> 'score')::float DESC)
        FROM merged_boxes m WHERE m.image_id = i.image_id) AS boxes,
       (SELECT jsonb_agg(f.face -> 'bbox')
        FROM results r, jsonb_array_elements(r.data -> 'predictions') AS f (face)
        WHERE r.image_id = i.image_id AND r.service = 'face' AND r.status = 'success') AS faces,
       (SELECT jsonb_agg(jsonb_build_array(k.colour ->> 'hex', k.colour ->> 'prismacolor') ORDER BY k.position)
        FROM results r, jsonb_path_query(r.data, 'lax $.predictions[0].palette.colors[*]')
             WITH ORDINALITY AS k (colour, position)
        WHERE r.image_id = i.image_id AND r.service = 'colors' AND r.status = 'success'
          AND k.position <= 3) AS colours,
       (SELECT c.consensus_data -> 'special' -> 'text' ->> 'content'
        FROM consensus c WHERE c.image_id = i.image_id) AS text,
       (SELECT array_agg(d.service || ': ' || d.last_error ORDER BY d.service)
        FROM dispatches d WHERE d.image_id = i.image_id AND d.state = 'failed') AS errors
FROM images i
WHERE i.image_group = %(group)s
ORDER BY i.image_id;
