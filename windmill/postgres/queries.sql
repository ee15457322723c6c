-- Every statement that Windmill sends, by name. `VALUES %s` takes many rows at once (execute_values).

-- name: note_versions
INSERT INTO service_versions (service, version) VALUES %s ON CONFLICT DO NOTHING;

-- name: save_results
-- A failure never replaces a success, nor an older version's answer a newer one's.
INSERT INTO results AS r (image_id, service, data, status, processing_time, worker_id, service_types,
                          bbox_format, vocabulary, model_version)
SELECT v.image_id, %(service)s, v.data::jsonb, v.status, v.processing_time, %(worker)s, %(service_types)s::text[],
       %(bbox_format)s, %(vocabulary)s::jsonb, v.model_version
FROM unnest(%(image_ids)s::bigint[], %(data)s::text[], %(statuses)s::text[], %(times)s::float8[],
            %(versions)s::text[]) AS v (image_id, data, status, processing_time, model_version)
ON CONFLICT (image_id, service) DO UPDATE
SET data = excluded.data, status = excluded.status, processing_time = excluded.processing_time,
    worker_id = excluded.worker_id, service_types = excluded.service_types,
    bbox_format = excluded.bbox_format, vocabulary = excluded.vocabulary,
    model_version = excluded.model_version,
    result_created = clock_timestamp()
WHERE r.status <> 'success'
   OR (excluded.status = 'success'
       AND (r.model_version = excluded.model_version
            OR coalesce((SELECT of_new.current_since >= of_old.current_since
                         FROM service_versions of_new, service_versions of_old
                         WHERE of_new.service = r.service AND of_new.version = excluded.model_version
                           AND of_old.service = r.service AND of_old.version = r.model_version), true)))
RETURNING image_id, service;

-- name: settle_dispatches
-- What was done stays done, until it is asked for again (record_dispatches).
INSERT INTO dispatches AS d (image_id, service, version, state, attempts, found, error_class, last_error,
                             worker_id, settled_at)
SELECT v.image_id, v.service, v.version, v.state, v.attempts, v.found, v.error_class, v.error, %(worker)s,
       CASE WHEN v.state IN ('queued', 'parked') THEN NULL ELSE clock_timestamp() END
FROM unnest(%(image_ids)s::bigint[], %(services)s::text[], %(versions)s::text[], %(states)s::text[],
            %(attempts)s::int[], %(found)s::int[], %(error_classes)s::text[], %(errors)s::text[])
     AS v (image_id, service, version, state, attempts, found, error_class, error)
ON CONFLICT (image_id, service, version) DO UPDATE
SET state = excluded.state, attempts = d.attempts + excluded.attempts, found = excluded.found,
    error_class = excluded.error_class, last_error = excluded.last_error, worker_id = excluded.worker_id,
    settled_at = excluded.settled_at
WHERE d.state <> 'done' OR excluded.state = 'done';

-- name: bury
INSERT INTO dead_jobs AS d (service, image_id, body, attempts, error_class, error, worker_id)
VALUES %s
ON CONFLICT (service, sha256(body)) DO UPDATE
SET attempts = excluded.attempts, error_class = excluded.error_class, error = excluded.error,
    worker_id = excluded.worker_id, buried_at = clock_timestamp();

-- name: save_stages
INSERT INTO stages AS s (image_id, stage, seen, found, rule, worker_id)
VALUES %s
ON CONFLICT (image_id, stage) DO UPDATE
SET seen = excluded.seen, found = excluded.found, rule = excluded.rule, worker_id = excluded.worker_id,
    made_at = clock_timestamp();

-- name: mark_changed
-- Which stage made another thing of which images than before.
UPDATE stages SET changed_at = clock_timestamp()
WHERE stage = %(stage)s AND image_id = ANY (%(image_ids)s::bigint[]);

-- name: delete_other_boxes
DELETE FROM merged_boxes m
USING (VALUES %s) AS kept (image_id, box_keys)
WHERE m.image_id = kept.image_id AND NOT m.box_key = ANY (kept.box_keys)
RETURNING m.image_id;

-- name: save_boxes
-- A box that is only refined stays as old as it is: what it waits for may be lost (LostCrops).
INSERT INTO merged_boxes AS m (image_id, box_key, source_result_ids, merged_data, worker_id)
VALUES %s
ON CONFLICT (image_id, box_key) DO UPDATE
SET source_result_ids = excluded.source_result_ids, merged_data = excluded.merged_data,
    worker_id = excluded.worker_id
WHERE m.merged_data <> excluded.merged_data
RETURNING m.image_id;

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

-- name: save_postprocessing
-- The target is the key of rows about a box, or about an image. As for results: no failure over a success, no
-- older version over a newer.
INSERT INTO postprocessing AS p (image_id, merged_box_id, service, data, status, worker_id, model_version)
VALUES %s
ON CONFLICT {target} DO UPDATE
SET data = excluded.data, status = excluded.status, worker_id = excluded.worker_id,
    model_version = excluded.model_version, result_created = now()
WHERE p.status <> 'success'
   OR (excluded.status = 'success'
       AND (p.model_version = excluded.model_version
            OR coalesce((SELECT of_new.current_since >= of_old.current_since
                         FROM service_versions of_new, service_versions of_old
                         WHERE of_new.service = p.service AND of_new.version = excluded.model_version
                           AND of_old.service = p.service AND of_old.version = p.model_version), true)));

-- name: about_a_box
(merged_box_id, service) WHERE merged_box_id IS NOT NULL;

-- name: about_an_image
(image_id, service) WHERE merged_box_id IS NULL;

-- name: lock_images
-- The two-key form has a lock space of its own: 1 is Windmill's images; two images that share the low half
-- of their ids only take turns needlessly.
SELECT pg_advisory_xact_lock(1, (image_id & 2147483647)::int)
FROM unnest(%(image_ids)s::bigint[]) AS image_id
ORDER BY image_id & 2147483647;

-- name: without_news
-- Of which images a stage has seen all that there is: the marks are those of core/seen.py, as in LostStage.
SELECT s.image_id
FROM stages s
LEFT JOIN stages m ON m.image_id = s.image_id AND m.stage = %(merger)s
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(r.service, (extract(epoch FROM r.result_created) * 1000000)::bigint) AS seen
    FROM results r
    WHERE r.image_id = s.image_id AND r.status = 'success'
      AND (%(stage)s = %(voter)s OR 'spatial' = ANY (r.service_types)
           OR (r.service_types IS NULL AND r.service = ANY (%(spatial)s)))
) AS there
WHERE s.image_id = ANY (%(image_ids)s) AND s.stage = %(stage)s AND s.rule = %(rule)s
  AND s.seen = CASE
      WHEN %(stage)s = %(voter)s AND m.changed_at IS NOT NULL
      THEN there.seen || jsonb_build_object(%(merger)s, (extract(epoch FROM m.changed_at) * 1000000)::bigint)
      ELSE there.seen END;

-- name: snapshot_images
SELECT i.image_id, i.image_path, i.image_url, i.as_is, s.changed_at
FROM images i LEFT JOIN stages s ON s.image_id = i.image_id AND s.stage = %(merger)s
WHERE i.image_id = ANY (%(image_ids)s)
ORDER BY i.image_id;

-- name: snapshot_replies
SELECT image_id, result_id, result_created, service, service_types, bbox_format, vocabulary, data
FROM results
WHERE image_id = ANY (%(image_ids)s) AND status = 'success'
  AND (NOT %(spatial_only)s OR 'spatial' = ANY (service_types)
       OR (service_types IS NULL AND service = ANY (%(spatial)s)))
ORDER BY image_id, service;

-- name: snapshot_boxes
SELECT m.image_id, m.box_key, m.merged_data,
       ARRAY (SELECT p.service FROM postprocessing p WHERE p.merged_box_id = m.merged_id) AS postprocessed
FROM merged_boxes m
WHERE m.image_id = ANY (%(image_ids)s)
ORDER BY m.image_id, m.merged_id;

-- name: count_selected
SELECT service, count(*)
FROM ({selection}) AS selected CROSS JOIN unnest(selected.services) AS service
GROUP BY service ORDER BY service;

-- name: count_selected_images
SELECT count(*) FROM ({selection}) AS selected;

-- name: forget_count
DROP TABLE IF EXISTS pg_temp.counted;

-- name: begin_count
-- What lies in the queues, while `windmill reconcile` compares it with the ledger.
CREATE TEMPORARY TABLE counted (
    service TEXT NOT NULL, image_id BIGINT NOT NULL, version TEXT NOT NULL, part TEXT NOT NULL
);

-- name: counted
INSERT INTO pg_temp.counted (service, image_id, version, part) VALUES %s;

-- name: end_count
CREATE INDEX ON pg_temp.counted (service, image_id);

-- name: analyze_count
ANALYZE pg_temp.counted;

-- name: open_services
SELECT DISTINCT service FROM dispatches WHERE state IN ('queued', 'parked') ORDER BY service;

-- name: standings
-- What was asked last of each image.
SELECT DISTINCT ON (d.image_id) d.image_id, d.state, d.found, i.image_path, i.image_url,
       concat_ws(': ', d.error_class, d.last_error)
FROM dispatches d JOIN images i USING (image_id)
WHERE d.service = %(service)s AND d.image_id = ANY (%(image_ids)s::bigint[])
ORDER BY d.image_id, d.dispatched_at DESC, d.version DESC;

-- name: versions
SELECT version FROM service_versions WHERE service = %(service)s ORDER BY current_since DESC;

-- name: make_current
INSERT INTO service_versions (service, version, current_since)
VALUES (%(service)s, %(version)s, clock_timestamp())
ON CONFLICT (service, version) DO UPDATE SET current_since = excluded.current_since;

-- name: last_hour
-- How many jobs of a service or a stage were settled in the last hour, and in how many seconds of it.
SELECT count(*), coalesce(extract(epoch FROM max(at) - min(at)), 0)
FROM (
    SELECT settled_at AS at FROM dispatches WHERE service = %(service)s AND settled_at > now() - interval '1 hour'
    UNION ALL
    SELECT made_at FROM stages WHERE stage = %(service)s AND made_at > now() - interval '1 hour'
    UNION ALL
    SELECT result_created FROM postprocessing
    WHERE merged_box_id IS NOT NULL AND service = %(kept_as)s AND result_created > now() - interval '1 hour'
) AS settled;

-- name: dead_groups
SELECT d.service, d.error_class, count(*), min(d.buried_at), max(d.buried_at),
       (array_agg(d.dead_id ORDER BY d.dead_id DESC))[1],
       (array_agg(coalesce(i.image_path, i.image_url, '') ORDER BY d.dead_id DESC))[1],
       (array_agg(d.error ORDER BY d.dead_id DESC))[1]
FROM dead_jobs d LEFT JOIN images i USING (image_id)
WHERE {matching}
GROUP BY d.service, d.error_class
ORDER BY d.service, d.error_class;

-- name: dead_jobs
SELECT d.dead_id, d.service, d.image_id, coalesce(i.image_path, i.image_url, ''), d.body, d.attempts,
       d.error_class, d.error, d.worker_id, d.buried_at
FROM dead_jobs d LEFT JOIN images i USING (image_id)
WHERE d.dead_id > %(after)s AND {matching}
ORDER BY d.dead_id
LIMIT %(limit)s;

-- name: dead_matching
(%(service)s::text IS NULL OR d.service = %(service)s)
AND (%(error_class)s::text IS NULL OR d.error_class = %(error_class)s)
AND (%(image_id)s::bigint IS NULL OR d.image_id = %(image_id)s)
AND (%(dead_id)s::bigint IS NULL OR d.dead_id = %(dead_id)s)
AND (%(before)s::timestamptz IS NULL OR d.buried_at < %(before)s);

-- name: delete_dead
DELETE FROM dead_jobs WHERE dead_id = ANY (%(dead_ids)s::bigint[]) AND buried_at < %(sent)s;

-- name: drop_dead
-- What is dropped is not sent again by itself, and the ledger says why.
WITH gone AS (
    DELETE FROM dead_jobs d WHERE {matching} RETURNING d.image_id, d.service, d.error_class, d.error
),
skipped AS (
    UPDATE dispatches d
    SET state = 'skipped', error_class = NULL, last_error = 'dropped by hand; it was ' || gone.error_class || ': ' || gone.error
    FROM gone
    WHERE d.image_id = gone.image_id AND d.service = gone.service AND d.state = 'failed'
)
SELECT count(*) FROM gone;

-- name: as_of_one_moment
-- Several reads that belong together; the first statement of its transaction.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: images_called
SELECT image_id FROM images
WHERE image_id = %(number)s OR image_path = %(name)s OR image_filename = %(name)s OR image_url = %(name)s
ORDER BY (image_id = %(number)s) IS TRUE DESC, image_id
LIMIT 11;

-- name: history_image
SELECT image_id, image_filename, image_path, image_url, image_group, width, height, image_created
FROM images WHERE image_id = %(image_id)s;

-- name: history_dispatches
SELECT d.service, d.version, d.state, d.found, d.attempts, d.error_class, d.last_error, d.worker_id,
       d.dispatched_at, d.settled_at, CASE WHEN r.status = 'success' THEN r.model_version END
FROM dispatches d LEFT JOIN results r USING (image_id, service)
WHERE d.image_id = %(image_id)s
ORDER BY d.service, d.dispatched_at;

-- name: history_replies
SELECT service, service_types, (extract(epoch FROM result_created) * 1000000)::bigint
FROM results WHERE image_id = %(image_id)s AND status = 'success' ORDER BY service;

-- name: history_texts
SELECT service FROM results
WHERE image_id = %(image_id)s AND status = 'success'
  AND jsonb_path_exists(data, '$.predictions[*].text ? (@.type() == "string" && @ != "")')
ORDER BY service;

-- name: history_parked
-- For each service that the image waits for, a reason why jobs of any image are parked, if some are.
SELECT o.service, p.last_error
FROM (SELECT DISTINCT d.service FROM dispatches d
      WHERE d.image_id = %(image_id)s AND d.state IN ('queued', 'parked')) AS o
CROSS JOIN LATERAL (SELECT d.last_error FROM dispatches d
                    WHERE d.service = o.service AND d.state = 'parked' LIMIT 1) AS p;

-- name: history_stages
SELECT stage, seen, found, rule, made_at, worker_id, (extract(epoch FROM changed_at) * 1000000)::bigint
FROM stages WHERE image_id = %(image_id)s ORDER BY stage;

-- name: history_boxes
SELECT count(*), count(*) FILTER (WHERE merged_data ->> 'class' = %(person)s)
FROM merged_boxes WHERE image_id = %(image_id)s;

-- name: history_postprocessing
SELECT service, count(*) FILTER (WHERE status = 'success'), count(*) FILTER (WHERE status <> 'success'),
       max(result_created), (array_agg(worker_id ORDER BY result_created DESC))[1],
       (array_agg(data #>> '{error,message}' ORDER BY result_created DESC)
            FILTER (WHERE status <> 'success'))[1]
FROM postprocessing WHERE image_id = %(image_id)s GROUP BY service ORDER BY service;

-- name: send_in_turn
-- 4 is the lock space of those who send: they take turns, so that two of them never send the same.
SELECT pg_advisory_xact_lock(4, 0);

-- name: record_dispatches
-- What a worker settled since it was sent stays settled. A row is for all images that went to the same services:
-- to read one for each image × service would cost as much as to write it. In the order in which workers settle.
INSERT INTO dispatches AS d (image_id, service, version, dispatched_at)
SELECT image_id, service, sent.version, sent.at
FROM (VALUES %s) AS sent (image_ids, services, version, at),
     unnest(sent.image_ids) AS image_id, unnest(sent.services) AS service
ORDER BY image_id, service COLLATE "C", sent.version COLLATE "C"
ON CONFLICT (image_id, service, version) DO UPDATE
SET state = 'queued', dispatched_at = excluded.dispatched_at, settled_at = NULL, found = NULL, attempts = 0,
    error_class = NULL, last_error = NULL, worker_id = NULL
WHERE d.settled_at IS NULL OR d.settled_at < excluded.dispatched_at;

-- name: forget_dead
-- What is asked for again is dead no more, unless it died again since it was sent. `body`: where a service has
-- several jobs about an image.
DELETE FROM dead_jobs d USING (VALUES %s) AS sent (image_ids, services, body, at)
WHERE d.image_id = ANY (sent.image_ids) AND d.service = ANY (sent.services) AND d.buried_at < sent.at
  AND (sent.body IS NULL OR d.body = sent.body);

-- name: server_time
SELECT clock_timestamp();

-- name: groups
SELECT image_group, count(*) FROM images GROUP BY image_group ORDER BY image_group;

-- name: known_images
SELECT content_hash, image_id FROM images WHERE content_hash = ANY (%(hashes)s);

-- name: add_images
INSERT INTO images (image_filename, image_path, image_url, image_group, content_hash, width, height, as_is)
VALUES %s
ON CONFLICT (content_hash) DO NOTHING
RETURNING content_hash, image_id;

-- name: do_not_wait_for_disk
SET LOCAL synchronous_commit = off;

-- name: never_wait_for_disk
SET synchronous_commit = off;

-- name: publish_jobs
-- A row is for all bodies that go to the same queues.
INSERT INTO jobs (queue, body, deliveries)
SELECT queue, body, sent.deliveries
FROM (VALUES %s) AS sent (bodies, queues, deliveries),
     unnest(sent.bodies) WITH ORDINALITY AS one (body, position), unnest(sent.queues) AS queue
ORDER BY one.position;

-- name: notify
SELECT pg_notify(queue, %(news)s) FROM unnest(%(queues)s::text[]) AS queue;

-- name: listen
LISTEN {queue};

-- name: new_holder
SELECT nextval('job_holders');

-- name: hold
-- 2 is the lock space of live sessions that hold jobs.
SELECT pg_advisory_lock(2, (%(holder)s & 2147483647)::int);

-- name: be_counted
-- 3 is the lock space of sessions that consume, by the hash of their queue's name.
SELECT pg_advisory_lock_shared(3, hashtext(%(queue)s));

-- name: be_uncounted
SELECT pg_advisory_unlock_shared(3, hashtext(%(queue)s));

-- name: free_dead_holders
UPDATE jobs SET holder = NULL
WHERE queue = %(queue)s AND holder IS NOT NULL
  AND holder & 2147483647 NOT IN (
      SELECT l.objid::bigint FROM pg_locks l
      WHERE l.locktype = 'advisory' AND l.classid = 2 AND l.objsubid = 2
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()));

-- name: take_jobs
-- Not what workers died of, or beside (take_suspect). `since` spares the walk over the index entries of jobs that
-- are done and not yet vacuumed away, which all lie at its beginning. The array has the rows found by their key,
-- whatever the planner thinks of how many there are.
UPDATE jobs SET holder = %(holder)s, deliveries = deliveries + 1
WHERE job_id = ANY (ARRAY(
    SELECT job_id FROM jobs
    WHERE queue = %(queue)s AND holder IS NULL AND deliveries <= %(suspect_after)s
      AND available_at BETWEEN %(since)s::timestamptz AND now()
    ORDER BY available_at, job_id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED))
RETURNING job_id, body, attempt, deliveries, available_at;

-- name: take_suspect
WITH next AS (
    SELECT job_id FROM jobs
    WHERE queue = %(queue)s AND holder IS NULL AND available_at <= now() AND deliveries > %(suspect_after)s
    ORDER BY job_id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET holder = %(holder)s, deliveries = deliveries + 1
FROM next WHERE jobs.job_id = next.job_id
RETURNING jobs.job_id, jobs.body, jobs.attempt, jobs.deliveries;

-- name: suspects
SELECT EXISTS (SELECT 1 FROM jobs
               WHERE queue = %(queue)s AND holder IS NULL AND available_at <= now() AND deliveries > %(suspect_after)s);

-- name: seconds_until_next
SELECT extract(epoch FROM min(available_at) - clock_timestamp()), now()
FROM jobs
WHERE queue = %(queue)s AND holder IS NULL AND deliveries <= %(suspect_after)s
  AND available_at >= %(since)s::timestamptz;

-- name: ack_jobs
-- `+ 0` leaves the index of holders out, by which all that this one holds would be read again for each job.
DELETE FROM jobs USING (VALUES %s) AS done (job_id, holder)
WHERE jobs.job_id = done.job_id AND jobs.holder + 0 = done.holder;

-- name: again_jobs
UPDATE jobs SET holder = NULL, attempt = again.attempt, deliveries = again.begun::int,
                available_at = now() + again.delay * interval '1 second'
FROM (VALUES %s) AS again (job_id, attempt, delay, begun, holder)
WHERE jobs.job_id = again.job_id AND jobs.holder + 0 = again.holder;

-- name: give_back
UPDATE jobs SET holder = NULL, deliveries = deliveries - (job_id = ANY (%(untouched)s))::int
WHERE holder = %(holder)s AND job_id = ANY (%(jobs)s);

-- name: queue_states
SELECT q.queue,
       (SELECT count(*) FROM jobs j
        WHERE j.queue = q.queue AND j.holder IS NULL AND j.available_at <= now()) AS waiting,
       (SELECT count(*) FROM jobs j
        WHERE j.queue = q.queue AND j.holder IS NULL AND j.available_at > now()) AS delayed,
       (SELECT count(*) FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.classid = 3 AND l.objsubid = 2 AND l.granted
          AND l.objid::bigint = hashtext(q.queue)::bigint & 4294967295
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS consumers
FROM unnest(%(queues)s::text[]) AS q (queue);

-- name: census
SELECT body FROM jobs WHERE queue = %(queue)s;

-- name: database_exists
SELECT 1 FROM pg_database WHERE datname = %(name)s;

-- name: create_database
CREATE DATABASE {name};

-- name: run_progress
SELECT (SELECT count(*) FROM dispatches WHERE state <> 'queued') + (SELECT count(*) FROM postprocessing),
       (SELECT count(*) FROM dispatches) + (SELECT count(*) FROM postprocessing)
           + (SELECT count(*) FROM jobs WHERE queue LIKE 'queue\_bbox\_%%' AND queue <> 'queue_bbox_merge'),
       (SELECT count(*) FROM jobs);

-- name: embeddings
-- Of the newest model only: vectors of different models cannot be compared.
WITH found AS (
    SELECT i.image_id, i.image_filename, r.data, r.model_version, r.result_created
    FROM results r JOIN images i USING (image_id)
    WHERE i.image_group = %(group)s AND r.service = %(service)s AND r.status = 'success'
), newest AS (
    SELECT f.model_version
    FROM found f LEFT JOIN service_versions v ON v.service = %(service)s AND v.version = f.model_version
    ORDER BY v.current_since DESC NULLS LAST, f.result_created DESC
    LIMIT 1
)
SELECT image_filename, data -> 'embedding'
FROM found JOIN newest USING (model_version)
WHERE jsonb_typeof(data -> 'embedding') = 'array'
ORDER BY image_id;

-- name: findings
-- One row an image, each list as JSON: votes, boxes, faces (in image pixels), colours, text, errors, captions.
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
                         ORDER BY (m.merged_data ->> 'score')::float DESC, m.box_key COLLATE "C")
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
        FROM dispatches d WHERE d.image_id = i.image_id AND d.state = 'failed') AS errors,
       (SELECT jsonb_agg(jsonb_build_array(r.service, {said}) ORDER BY r.service)
        FROM results r
        WHERE r.image_id = i.image_id AND {captioner} AND {said} IS NOT NULL) AS captions,
       i.image_group
FROM images i
WHERE {images}
ORDER BY i.image_id;

-- name: of_group
i.image_group = %(group)s;

-- name: of_images
i.image_id = ANY (%(image_ids)s::bigint[]);
