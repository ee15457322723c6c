-- Rows as a long run leaves them. The services of a block of images come one after the other, as queues that move at
-- different speeds bring them, so that an image's rows do not lie side by side.

-- name: images
INSERT INTO images (image_id, image_filename, image_path, image_group, image_created, content_hash, width, height)
SELECT n, format('%%s.jpg', lpad(n::text, 12, '0')),
       format('/photos/%%s/%%s.jpg', n / 1000, lpad(n::text, 12, '0')),
       'group' || (n - 1) / %(group_size)s, now() - interval '30 days', sha256(n::text::bytea), 640, 480
FROM generate_series(1, %(images)s::int) AS n;

-- name: results
-- About 1 in 200 failed; of 1 in 200 more there is only the row in `dispatches`.
INSERT INTO results (image_id, service, data, status, processing_time, result_created, worker_id, service_types,
                     bbox_format, vocabulary, model_version)
SELECT n, s.name,
       CASE WHEN hashint8(n * 16 + s.number) %% 200 = 0
       THEN '{"error": {"class": "BadReply", "message": "neither predictions nor an error"}}'
       ELSE replace(replace(s.reply, '"#n"', (n %% 400)::text), '"#word"',
                    (ARRAY['"dog"', '"cat"', '"person"', '"bus"', '"kite"', '"surfboard"'])[1 + n %% 6])
       END::jsonb,
       CASE WHEN hashint8(n * 16 + s.number) %% 200 = 0 THEN 'error' ELSE 'success' END,
       0.3, now() - interval '30 days' + n * interval '1 second', s.name || '@box:' || n %% 7, s.types,
       s.bbox_format, to_jsonb(s.vocabulary), s.name || ' 1'
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n CROSS JOIN pg_temp.asked AS s
WHERE hashint8(n * 16 + s.number) %% 200 <> 1
ORDER BY s.number, n;

-- name: dispatches
INSERT INTO dispatches (image_id, service, state, found, attempts, error_class, last_error, worker_id,
                        dispatched_at, settled_at)
SELECT n, s.name, d.state, CASE WHEN d.state = 'done' THEN n %% 9 END, (d.state <> 'skipped')::int,
       CASE d.state WHEN 'failed' THEN 'BadReply' WHEN 'parked' THEN 'ServiceDown' END,
       CASE d.state WHEN 'failed' THEN 'neither predictions nor an error'
                    WHEN 'parked' THEN s.name || ' refuses connections'
                    WHEN 'skipped' THEN 'dropped by hand' END,
       s.name || '@box:' || n %% 7, now() - interval '30 days',
       CASE WHEN d.state NOT IN ('queued', 'parked') THEN now() - interval '30 days' + n * interval '1 second' END
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n CROSS JOIN pg_temp.asked AS s
CROSS JOIN LATERAL (
    SELECT CASE hashint8(n * 16 + s.number) %% 200
           WHEN 0 THEN 'failed'
           WHEN 1 THEN (ARRAY['queued', 'queued', 'queued', 'parked', 'skipped'])[1 + n %% 5]
           ELSE 'done' END AS state
) AS d
ORDER BY s.number, n;

-- name: merged_boxes
INSERT INTO merged_boxes (merged_id, image_id, box_key, source_result_ids, merged_data, created, worker_id)
SELECT n * 3 + k, n, format('dog:%%s,20,50,60', k * 100), ARRAY[n, n + 1, n + 2], replace(%(box)s, '"#n"', (k * 100)::text)::jsonb,
       now() - interval '29 days', 'bbox_merger@box:1'
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n CROSS JOIN generate_series(0, 2) AS k
ORDER BY n, k;

-- name: postprocessing
INSERT INTO postprocessing (image_id, merged_box_id, service, data, result_created, worker_id, model_version)
SELECT n, n * 3 + k, 'colors', %(colors)s::jsonb, now() - interval '29 days', 'bbox_colors@box:1', 'colors 1'
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n CROSS JOIN generate_series(0, 2) AS k
UNION ALL
SELECT n, NULL, 'caption_score_blip', '{"similarity": 0.31}', now() - interval '29 days', 'caption_score@box:1', 'clip 1'
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n;

-- name: consensus
INSERT INTO consensus (image_id, consensus_data, processing_time, consensus_created, worker_id)
SELECT n, %(consensus)s::jsonb, 0.001, now() - interval '29 days', 'consensus@box:1'
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n;

-- name: stages
-- The marks of windmill/core/seen.py, so that nothing counts as lost.
INSERT INTO stages (image_id, stage, seen, found, rule, changed_at, made_at, worker_id)
SELECT r.image_id, stage, jsonb_object_agg(r.service, (extract(epoch FROM r.result_created) * 1000000)::bigint)
           || CASE stage WHEN 'consensus' THEN jsonb_build_object('bbox_merger', 1.8e15::bigint) ELSE '{}' END,
       3, 'rule 1', CASE stage WHEN 'bbox_merger' THEN to_timestamp(1.8e9) END,
       now() - interval '29 days', stage || '@box:1'
FROM results r CROSS JOIN unnest(ARRAY['bbox_merger', 'consensus']) AS stage
WHERE r.image_id BETWEEN %(first)s AND %(last)s AND r.status = 'success'
  AND (stage = 'consensus' OR 'spatial' = ANY (r.service_types))
GROUP BY r.image_id, stage
ORDER BY r.image_id;

-- name: dead_jobs
INSERT INTO dead_jobs (service, image_id, body, attempts, error_class, error, worker_id, buried_at)
SELECT service, image_id, format('{"v":1,"image":{"id":%%s,"path":"/photos/%%s.jpg"}}', image_id, lpad(image_id::text, 12, '0'))::bytea, 3, error_class, last_error,
       worker_id, settled_at
FROM dispatches WHERE state = 'failed';

-- name: jobs
-- What is open waits in queues; and a service that was asked about everything has not begun.
INSERT INTO jobs (queue, body, available_at)
SELECT 'queue_' || service, format('{"v":1,"image":{"id":%%s,"path":"/photos/%%s.jpg"}}', image_id, lpad(image_id::text, 12, '0'))::bytea, dispatched_at
FROM dispatches WHERE state IN ('queued', 'parked')
UNION ALL
SELECT 'queue_yolo_oi7', format('{"v":1,"image":{"id":%%s,"path":"/photos/%%s.jpg"}}', image_id, lpad(image_id::text, 12, '0'))::bytea,
       image_created
FROM images
ORDER BY 3;
