-- Which jobs to send (model/selections.py): one statement for each kind of selection, under its name, or under that
-- and which of them (ImagesAgain_failed). All give the same columns, in the order of `key`, from the first key above
-- `after`:
-- key, image_id, image_path, image_url, as_is, version, box_key, bbox, captioner, caption, services.
--
-- A window of a selection is read in the order of its key, each row looked up by an index as it comes. So conditions
-- are scalar subqueries, `1 > (SELECT count(*) …)`: an EXISTS may be answered for all images at once, by a sort or a
-- hash of all that there is, and that again for every hundred. `1 >` and not `0 =`: of an inequality the planner
-- expects that it often holds, so that a window is full soon; of an equality, that it must read and sort everything.

-- name: Missing
-- An image lacks a service when there is no result, nor a job under way, nor a reason to do without; an index worker,
-- whose results are elsewhere, when it was never asked. Of most images there are as many results as services, and no
-- more is asked.
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, NULL AS box_key,
       NULL::jsonb AS bbox, NULL AS captioner, NULL AS caption, lacking.services
FROM images i
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(r.service), ARRAY[]::text[]) AS services FROM results r
    WHERE %(resume)s AND r.image_id = i.image_id AND r.service = ANY (%(services)s)
) AS answered
CROSS JOIN LATERAL (
    SELECT array_agg(s.service ORDER BY s.position) AS services
    FROM unnest(%(services)s::text[]) WITH ORDINALITY AS s (service, position)
    WHERE s.service <> ALL (answered.services)
      AND (NOT %(resume)s
           OR 1 > (SELECT count(*) FROM dispatches d
                   WHERE d.image_id = i.image_id AND d.service = s.service
                     AND (d.state IN ('queued', 'parked', 'skipped') OR s.service = ANY (%(elsewhere)s))))
) AS lacking
WHERE i.image_id > %(after)s AND (%(group)s::text IS NULL OR i.image_group = %(group)s)
  AND cardinality(answered.services) < cardinality(%(services)s::text[])
  AND lacking.services IS NOT NULL
ORDER BY key
LIMIT %(limit)s;

-- name: ImagesAgain_failed
-- What was asked last, and given up. Not what is under way: that will be made anew by itself.
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, d.version, NULL AS box_key,
       NULL::jsonb AS bbox, NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM dispatches d JOIN images i USING (image_id)
WHERE d.service = (%(services)s::text[])[1] AND d.state = 'failed' AND d.image_id > %(after)s
  AND (%(group)s::text IS NULL OR i.image_group = %(group)s)
  AND 1 > (SELECT count(*) FROM dispatches o
           WHERE o.image_id = d.image_id AND o.service = d.service
             AND (o.state IN ('queued', 'parked') OR (o.dispatched_at, o.version) > (d.dispatched_at, d.version)))
ORDER BY key
LIMIT %(limit)s;

-- name: ImagesAgain
-- All, or what another version said.
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, %(version)s::text AS version,
       NULL AS box_key, NULL::jsonb AS bbox, NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM images i
WHERE i.image_id > %(after)s AND (%(group)s::text IS NULL OR i.image_group = %(group)s)
  AND (%(which)s = 'all'
       OR 0 < (SELECT count(*) FROM results r
               WHERE r.image_id = i.image_id AND r.service = ANY (%(services)s)
                 AND r.status = 'success' AND r.model_version <> %(version)s))
  AND 1 > (SELECT count(*) FROM dispatches d
           WHERE d.image_id = i.image_id AND d.service = ANY (%(services)s) AND d.state IN ('queued', 'parked'))
ORDER BY key
LIMIT %(limit)s;

-- name: TheseImages
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, NULL AS box_key,
       NULL::jsonb AS bbox, NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM images i
WHERE i.image_id = ANY (%(images)s::bigint[]) AND i.image_id > %(after)s
  AND 1 > (SELECT count(*) FROM dispatches d
           WHERE d.image_id = i.image_id AND d.service = ANY (%(services)s) AND d.state IN ('queued', 'parked'))
ORDER BY key
LIMIT %(limit)s;

-- name: StagesAgain
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, NULL AS box_key,
       NULL::jsonb AS bbox, NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM images i
WHERE i.image_id > %(after)s AND (%(group)s::text IS NULL OR i.image_group = %(group)s)
  AND CASE %(which)s
      WHEN 'failed' THEN 0 < (SELECT count(*) FROM dead_jobs d
                              WHERE d.image_id = i.image_id AND d.service = ANY (%(services)s))
      WHEN 'stale' THEN 0 < (SELECT count(*) FROM stages s
                             WHERE s.image_id = i.image_id AND s.stage = ANY (%(services)s) AND s.rule <> %(rule)s)
      ELSE 0 < (SELECT count(*) FROM results r WHERE r.image_id = i.image_id AND r.status = 'success') END
ORDER BY key
LIMIT %(limit)s;

-- name: BoxesAgain
-- All, or what another version said.
SELECT m.merged_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, m.box_key,
       m.merged_data -> 'crop' AS bbox, NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM merged_boxes m
JOIN images i USING (image_id)
WHERE m.merged_id > %(after)s AND (%(group)s::text IS NULL OR i.image_group = %(group)s)
  AND (%(only)s::text IS NULL OR m.merged_data ->> 'class' = %(only)s)
  AND (%(which)s = 'all'
       OR 0 < (SELECT count(*) FROM postprocessing p
               WHERE p.merged_box_id = m.merged_id AND p.service = %(kept_as)s
                 AND p.status = 'success' AND p.model_version <> %(version)s))
ORDER BY key
LIMIT %(limit)s;

-- name: BoxesAgain_failed
SELECT m.merged_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, m.box_key,
       m.merged_data -> 'crop' AS bbox, NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM postprocessing p
JOIN merged_boxes m ON m.merged_id = p.merged_box_id
JOIN images i ON i.image_id = m.image_id
WHERE p.service = %(kept_as)s AND p.status <> 'success' AND p.merged_box_id > %(after)s
  AND (%(group)s::text IS NULL OR i.image_group = %(group)s)
  AND (%(only)s::text IS NULL OR m.merged_data ->> 'class' = %(only)s)
ORDER BY p.merged_box_id
LIMIT %(limit)s;

-- name: LostDispatches
-- Of each service and state the first that are lost, for so the index on what is open is ordered; and of all these
-- the first.
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, open.version, NULL AS box_key,
       NULL::jsonb AS bbox, NULL AS captioner, NULL AS caption, open.services
FROM (
    SELECT lost.image_id, lost.version, array_agg(s.service ORDER BY s.service) AS services
    FROM unnest(%(services)s::text[]) AS s (service) CROSS JOIN unnest(ARRAY['queued', 'parked']) AS w (state)
    CROSS JOIN LATERAL (
        SELECT d.image_id, d.version FROM dispatches d
        WHERE d.service = s.service AND d.state = w.state AND d.state <> 'done' AND d.image_id > %(after)s
          AND d.dispatched_at < %(before)s
          AND 1 > (SELECT count(*) FROM pg_temp.counted c
                   WHERE c.service = d.service AND c.image_id = d.image_id AND c.version = d.version)
        ORDER BY d.image_id
        FETCH FIRST (coalesce(%(limit)s::bigint, 9223372036854775807)) ROWS WITH TIES
    ) AS lost
    GROUP BY lost.image_id, lost.version
    ORDER BY lost.image_id
    FETCH FIRST (coalesce(%(limit)s::bigint, 9223372036854775807)) ROWS WITH TIES
) AS open
JOIN images i USING (image_id)
ORDER BY key;

-- name: LostStage
-- The marks are those of core/seen.py; an image that got a reply meanwhile has a job that is on its way.
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, NULL AS box_key,
       NULL::jsonb AS bbox, NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM images i
CROSS JOIN LATERAL (
    SELECT max(r.result_created) AS latest,
           jsonb_object_agg(r.service, (extract(epoch FROM r.result_created) * 1000000)::bigint) AS seen
    FROM results r
    WHERE r.image_id = i.image_id AND r.status = 'success'
      AND ('spatial' = ANY (r.service_types) OR 'consensus' = ANY (%(services)s)
           OR (r.service_types IS NULL AND r.service = ANY (%(spatial)s)))
) AS there
LEFT JOIN stages m ON m.image_id = i.image_id AND m.stage = 'bbox_merger'
LEFT JOIN stages s ON s.image_id = i.image_id AND s.stage = ANY (%(services)s)
WHERE i.image_id > %(after)s AND there.latest < %(before)s
  AND s.seen IS DISTINCT FROM CASE
      WHEN 'consensus' = ANY (%(services)s) AND m.changed_at IS NOT NULL
      THEN there.seen || jsonb_build_object('bbox_merger',
                                            (extract(epoch FROM m.changed_at) * 1000000)::bigint)
      ELSE there.seen END
  AND 1 > (SELECT count(*) FROM pg_temp.counted c
           WHERE c.service = ANY (%(services)s) AND c.image_id = i.image_id)
ORDER BY key
LIMIT %(limit)s;

-- name: LostCrops
SELECT m.merged_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, m.box_key,
       m.merged_data -> 'crop' AS bbox, NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM merged_boxes m
JOIN images i USING (image_id)
WHERE m.merged_id > %(after)s AND m.created < %(before)s
  AND (%(only)s::text IS NULL OR m.merged_data ->> 'class' = %(only)s)
  AND 1 > (SELECT count(*) FROM postprocessing p
           WHERE p.merged_box_id = m.merged_id AND p.service = %(kept_as)s)
  AND 1 > (SELECT count(*) FROM pg_temp.counted c
           WHERE c.service = ANY (%(services)s) AND c.image_id = i.image_id AND c.part = m.box_key)
ORDER BY key
LIMIT %(limit)s;

-- name: LostCaptions
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, NULL AS box_key,
       NULL::jsonb AS bbox, said.service AS captioner, said.caption, %(services)s::text[] AS services
FROM images i
CROSS JOIN LATERAL (
    SELECT r.service,
           (SELECT p.prediction ->> 'text'
            FROM jsonb_array_elements(r.data -> 'predictions') WITH ORDINALITY AS p (prediction, position)
            WHERE coalesce(p.prediction ->> 'text', '') <> ''
            ORDER BY p.position LIMIT 1) AS caption
    FROM results r
    WHERE r.image_id = i.image_id AND r.service = ANY (%(captioners)s) AND r.status = 'success'
      AND r.result_created < %(before)s
      AND 1 > (SELECT count(*) FROM postprocessing p
               WHERE p.image_id = r.image_id AND p.merged_box_id IS NULL
                 AND p.service = 'caption_score_' || r.service)
      AND 1 > (SELECT count(*) FROM pg_temp.counted c
               WHERE c.service = ANY (%(services)s) AND c.image_id = r.image_id AND c.part = r.service)
    OFFSET 0
) AS said
WHERE i.image_id > %(after)s AND said.caption IS NOT NULL
ORDER BY key
FETCH FIRST (coalesce(%(limit)s::bigint, 9223372036854775807)) ROWS WITH TIES;
