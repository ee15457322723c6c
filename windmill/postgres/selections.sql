-- Which jobs to send (model/selections.py): one statement for each kind of selection, under its name. All give
-- the same columns, in the order of `key`, from the first key above `after`:
-- key, image_id, image_path, image_url, as_is, version, box_key, bbox, captioner, caption, services.

-- name: Missing
-- An image lacks a service when there is no result, nor a job under way, nor a reason to do without.
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, NULL AS box_key,
       NULL::jsonb AS bbox, NULL AS captioner, NULL AS caption, lacking.services
FROM images i
CROSS JOIN LATERAL (
    SELECT array_agg(s.service ORDER BY s.position) AS services
    FROM unnest(%(services)s::text[]) WITH ORDINALITY AS s (service, position)
    WHERE NOT %(resume)s
       OR (NOT EXISTS (SELECT 1 FROM results r WHERE r.image_id = i.image_id AND r.service = s.service)
           AND NOT EXISTS (SELECT 1 FROM dispatches d
                           WHERE d.image_id = i.image_id AND d.service = s.service
                             AND d.state IN ('queued', 'parked', 'skipped')))
) AS lacking
WHERE i.image_id > %(after)s AND (%(group)s::text IS NULL OR i.image_group = %(group)s)
  AND lacking.services IS NOT NULL
ORDER BY key
LIMIT %(limit)s;

-- name: ImagesAgain
-- Not what is under way: that will be made anew by itself.
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is,
       coalesce(last.version, %(version)s::text) AS version, NULL AS box_key, NULL::jsonb AS bbox,
       NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM images i
LEFT JOIN LATERAL (
    SELECT d.version, d.state FROM dispatches d
    WHERE %(which)s = 'failed' AND d.image_id = i.image_id AND d.service = ANY (%(services)s)
    ORDER BY d.dispatched_at DESC LIMIT 1
) AS last ON true
WHERE i.image_id > %(after)s AND (%(group)s::text IS NULL OR i.image_group = %(group)s)
  AND CASE %(which)s
      WHEN 'failed' THEN last.state = 'failed'
      WHEN 'stale' THEN EXISTS (SELECT 1 FROM results r
                                WHERE r.image_id = i.image_id AND r.service = ANY (%(services)s)
                                  AND r.status = 'success' AND r.model_version <> %(version)s)
      ELSE true END
  AND NOT EXISTS (SELECT 1 FROM dispatches d
                  WHERE d.image_id = i.image_id AND d.service = ANY (%(services)s)
                    AND d.state IN ('queued', 'parked'))
ORDER BY key
LIMIT %(limit)s;

-- name: StagesAgain
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, NULL AS box_key,
       NULL::jsonb AS bbox, NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM images i LEFT JOIN stages s ON s.image_id = i.image_id AND s.stage = ANY (%(services)s)
WHERE i.image_id > %(after)s AND (%(group)s::text IS NULL OR i.image_group = %(group)s)
  AND CASE %(which)s
      WHEN 'failed' THEN EXISTS (SELECT 1 FROM dead_jobs d
                                 WHERE d.image_id = i.image_id AND d.service = ANY (%(services)s))
      WHEN 'stale' THEN s.rule <> %(rule)s
      ELSE EXISTS (SELECT 1 FROM results r WHERE r.image_id = i.image_id AND r.status = 'success') END
ORDER BY key
LIMIT %(limit)s;

-- name: BoxesAgain
SELECT m.merged_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, m.box_key,
       m.merged_data -> 'crop' AS bbox, NULL AS captioner, NULL AS caption, %(services)s::text[] AS services
FROM merged_boxes m
JOIN images i USING (image_id)
LEFT JOIN postprocessing p ON p.merged_box_id = m.merged_id AND p.service = %(kept_as)s
WHERE m.merged_id > %(after)s AND (%(group)s::text IS NULL OR i.image_group = %(group)s)
  AND (%(only)s::text IS NULL OR m.merged_data ->> 'class' = %(only)s)
  AND CASE %(which)s
      WHEN 'failed' THEN p.status <> 'success'
      WHEN 'stale' THEN p.status = 'success' AND p.model_version <> %(version)s
      ELSE true END
ORDER BY key
LIMIT %(limit)s;

-- name: LostDispatches
SELECT i.image_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, open.version, NULL AS box_key,
       NULL::jsonb AS bbox, NULL AS captioner, NULL AS caption, open.services
FROM (
    SELECT d.image_id, d.version, array_agg(d.service ORDER BY d.service) AS services
    FROM dispatches d
    WHERE d.service = ANY (%(services)s) AND d.state IN ('queued', 'parked') AND d.image_id > %(after)s
      AND d.dispatched_at < %(before)s
      AND NOT EXISTS (SELECT 1 FROM pg_temp.counted c
                      WHERE c.service = d.service AND c.image_id = d.image_id AND c.version = d.version)
    GROUP BY d.image_id, d.version
) AS open
JOIN images i USING (image_id)
ORDER BY key
FETCH FIRST (coalesce(%(limit)s::bigint, 9223372036854775807)) ROWS WITH TIES;

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
  AND NOT EXISTS (SELECT 1 FROM pg_temp.counted c
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
  AND NOT EXISTS (SELECT 1 FROM postprocessing p
                  WHERE p.merged_box_id = m.merged_id AND p.service = %(kept_as)s)
  AND NOT EXISTS (SELECT 1 FROM pg_temp.counted c
                  WHERE c.service = ANY (%(services)s) AND c.image_id = i.image_id AND c.part = m.box_key)
ORDER BY key
LIMIT %(limit)s;

-- name: LostCaptions
SELECT r.result_id AS key, i.image_id, i.image_path, i.image_url, i.as_is, '' AS version, NULL AS box_key,
       NULL::jsonb AS bbox, r.service AS captioner, said.caption, %(services)s::text[] AS services
FROM results r
JOIN images i USING (image_id)
CROSS JOIN LATERAL (
    SELECT p.prediction ->> 'text' AS caption
    FROM jsonb_array_elements(r.data -> 'predictions') WITH ORDINALITY AS p (prediction, position)
    WHERE coalesce(p.prediction ->> 'text', '') <> ''
    ORDER BY p.position LIMIT 1
) AS said
WHERE r.result_id > %(after)s AND r.service = ANY (%(captioners)s) AND r.status = 'success'
  AND r.result_created < %(before)s
  AND NOT EXISTS (SELECT 1 FROM postprocessing p
                  WHERE p.image_id = r.image_id AND p.merged_box_id IS NULL
                    AND p.service = 'caption_score_' || r.service)
  AND NOT EXISTS (SELECT 1 FROM pg_temp.counted c
                  WHERE c.service = ANY (%(services)s) AND c.image_id = i.image_id AND c.part = r.service)
ORDER BY key
LIMIT %(limit)s;
