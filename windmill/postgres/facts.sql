-- What the pipeline knows of images, as conditions ask it (core/where.py): `matching`, and what goes into its gaps.
--
-- Each part speaks of one image `i`, and of one statement about it that shall be {wanted}: true or false. What is not
-- known is neither. As EXISTS, so that the planner may choose: all of a table at once, or image by image where other
-- statements leave few. Where that takes two questions, `…_not` has those for false.

-- name: matching
-- The images that meet a condition, in no order.
SELECT {number} FROM images i WHERE {number} IS NOT NULL AND {condition};

-- name: number_images
i.image_id;

-- name: number_content
-- model.content_number
('x' || encode(substr(i.content_hash, 1, 8), 'hex'))::bit(64)::bigint & 9223372036854775807;

-- name: votes_holds
-- By the index consensus_emoji.
EXISTS (SELECT FROM consensus c
        WHERE c.image_id = i.image_id
          AND (jsonb_path_query_array(c.consensus_data, '$.votes.consensus[*].emoji') ?| {emoji}::text[]) = {wanted});

-- name: votes_under
EXISTS (SELECT FROM consensus c
        WHERE c.image_id = i.image_id
          AND (coalesce(jsonb_path_query_first(c.consensus_data, '$.votes.consensus[*] ? (@.emoji == $emoji[*]).votes',
                                               {meant})::numeric, 0) {operator} {value}) = {wanted});

-- name: votes_named_holds
-- By a word that has no emoji: a label of what stands behind a vote, or a caption's word.
EXISTS (SELECT FROM consensus c
        WHERE c.image_id = i.image_id
          AND jsonb_path_exists(c.consensus_data, '$.votes.consensus[*] ? (@.bounding_boxes[*].label == $words[*]
                  || @.evidence.semantic.words[*] == $words[*])', {meant}) = {wanted});

-- name: votes_named_under
EXISTS (SELECT FROM consensus c
        WHERE c.image_id = i.image_id
          AND (coalesce(jsonb_path_query_first(c.consensus_data, '$.votes.consensus[*]
                  ? (@.bounding_boxes[*].label == $words[*] || @.evidence.semantic.words[*] == $words[*]).votes',
                  {meant})::numeric, 0) {operator} {value}) = {wanted});

-- name: boxes_holds
EXISTS (SELECT FROM merged_boxes m WHERE m.image_id = i.image_id AND {box});

-- name: boxes_holds_not
EXISTS (SELECT FROM stages s WHERE s.image_id = i.image_id AND s.stage = 'bbox_merger')
AND NOT EXISTS (SELECT FROM merged_boxes m WHERE m.image_id = i.image_id AND {box});

-- name: boxes_under
EXISTS (SELECT FROM stages s
        WHERE s.image_id = i.image_id AND s.stage = 'bbox_merger'
          AND ((SELECT count(*) FROM merged_boxes m WHERE m.image_id = s.image_id AND {box})
               {operator} {value}) = {wanted});

-- name: box
jsonb_path_exists(m.merged_data, '$ ? (@.detection_count >= 2 && (@.emoji == $emoji[*] || @.class == $classes[*]
                  || @.label == $words[*] || @.labels[*] == $words[*]))', {meant});

-- name: text_holds
EXISTS (SELECT FROM results r
        WHERE r.image_id = i.image_id AND r.service = 'ocr' AND r.status = 'success'
          AND (strpos(lower(coalesce({said}, '')), lower({value})) > 0) = {wanted});

-- name: captions_holds
EXISTS (SELECT FROM results r
        WHERE r.image_id = i.image_id AND {captioner} AND strpos(lower({said}), lower({value})) > 0);

-- name: captions_holds_not
EXISTS (SELECT FROM results r WHERE r.image_id = i.image_id AND {captioner})
AND NOT EXISTS (SELECT FROM results r
                WHERE r.image_id = i.image_id AND {captioner} AND strpos(lower({said}), lower({value})) > 0);

-- name: said
-- The text of a reply, as `ServiceReply.text` is.
jsonb_path_query_first(r.data, '$.predictions[*].text ? (@ != "")') #>> ARRAY[]::text[];

-- name: captioner
-- Of those who wrote no types, only Windmill's own services are known to make captions.
r.status = 'success' AND ('semantic' = ANY (r.service_types)
                          OR (r.service_types IS NULL AND r.service = ANY (%(captioners)s::text[])));

-- name: colours_holds
-- As a number, so that the planner takes it for more work than to look at the service first.
EXISTS (SELECT FROM results r
        WHERE r.image_id = i.image_id AND r.service = 'colors' AND r.status = 'success'
          AND jsonb_path_exists(r.data, '$.predictions[*] ? (@.primary.temperature == $words[*]
                  || @.palette.colors[*].prismacolor == $words[*] || @.palette.colors[*].hex == $words[*]
                  || @.palette.colors[*].copic == $words[*] || @.palette.colors[*].copic starts with $code)',
                  {meant})::int = {wanted}::int);

-- name: faces_is
(coalesce((SELECT {count} FROM results r
           WHERE r.image_id = i.image_id AND r.service = 'face' AND r.status = 'success'),
          (SELECT sum({count}) FROM postprocessing r
           WHERE r.image_id = i.image_id AND r.merged_box_id IS NOT NULL AND r.service = 'face'
             AND r.status = 'success')) {operator} {value}) = {wanted};

-- name: count
jsonb_array_length(jsonb_path_query_array(r.data, '$.predictions[*]'));

-- name: nsfw_is
-- Our own service tells a score; of others, `confidence` is of the verdict, whichever it is.
EXISTS (SELECT FROM results r
        WHERE r.image_id = i.image_id AND r.service = 'nsfw2' AND r.status = 'success'
          AND (coalesce(jsonb_path_query_first(r.data, '$.predictions[0].score ? (@.type() == "number")')::numeric,
                        jsonb_path_query_first(r.data, '$.predictions[0] ? (@.nsfw == true).confidence
                                                        ? (@.type() == "number")')::numeric,
                        1 - jsonb_path_query_first(r.data, '$.predictions[0] ? (@.nsfw == false).confidence
                                                            ? (@.type() == "number")')::numeric)
               {operator} {value}) = {wanted});

-- name: metadata_number
EXISTS (SELECT FROM results r
        WHERE r.image_id = i.image_id AND r.service = 'metadata' AND r.status = 'success'
          AND (CASE WHEN jsonb_typeof({entry}) = 'number' THEN ({entry})::numeric END {operator} {value}) = {wanted});

-- name: metadata_text
EXISTS (SELECT FROM results r
        WHERE r.image_id = i.image_id AND r.service = 'metadata' AND r.status = 'success'
          AND (lower({entry} #>> ARRAY[]::text[]) {operator} lower({value}) COLLATE "C") = {wanted});

-- name: entry
r.data #> ARRAY['predictions', '0'] #> {path}::text[];

-- name: group_is
(i.image_group {operator} {value}) = {wanted};

-- name: filename_is
(i.image_filename {operator} {value}) = {wanted};

-- name: filename_holds
(strpos(lower(i.image_filename), lower({value})) > 0) = {wanted};

-- name: path_is
(i.image_path {operator} {value}) = {wanted};

-- name: path_holds
(strpos(lower(i.image_path), lower({value})) > 0) = {wanted};

-- name: width_is
(i.width {operator} {value}) = {wanted};

-- name: height_is
(i.height {operator} {value}) = {wanted};

-- name: created_is
(i.image_created {operator} {value}::timestamptz) = {wanted};

-- name: created_day
((i.image_created AT TIME ZONE 'UTC')::date {operator} {value}::date) = {wanted};

-- name: id_is
({number} {operator} {value}) = {wanted};

-- name: numbered_by_content
-- Those whose hash begins as a number says; by the index on it, without one of its own.
SELECT i.content_hash, i.image_id
FROM unnest(%(first)s::bytea[], %(last)s::bytea[]) AS wanted (first, last)
JOIN images i ON i.content_hash BETWEEN wanted.first AND wanted.last;

-- name: image
SELECT image_id, image_path, image_url, as_is FROM images WHERE image_id = %(image_id)s;

-- name: without_compiler
-- Most conditions are answered before the server has compiled them.
SET LOCAL jit = off;
