--
-- encrypted_jsonb: jsonb for its owner, sealed for everybody else.
--
\set VERBOSITY terse
\encoding UTF8
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cauce CASCADE;
RESET client_min_messages;
SELECT cauce.create_account('regress jsonb') IS NOT NULL AS made;
SELECT pg_catalog.regexp_replace(current_setting('cauce.token_keys_file'), '/keys/tokens.jwks$', '') AS dir \gset
\setenv CAUCE_DIR :dir
\set token `dev/token "$CAUCE_DIR" 'regress jsonb'`

CREATE TABLE form (id int PRIMARY KEY, body cauce.encrypted_jsonb);

--
-- Without identity: what goes in is sealed, and stays so
--
INSERT INTO form VALUES (1, '{"mood": "aperture"}');
SELECT id, left(cauce.encrypted_jsonb_out(body)::text, 7) AS body FROM form;
SELECT encode(substr(cauce.encrypted_jsonb_send(body), 1, 8), 'escape') FROM form;
SELECT body::jsonb FROM form;
SELECT body::json FROM form;
SELECT body::text FROM form;
SELECT body::varchar FROM form;
SELECT body::char(10) FROM form;
SELECT body->>'mood' FROM form;
SELECT body || 'x' FROM form;
SELECT * FROM form WHERE body @> '{}';
SELECT to_jsonb(form) FROM form;
SELECT jsonb_pretty(body) FROM form;
-- A literal in a plan is sealed, too.
CREATE FUNCTION shows(statement text, pattern text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (VERBOSE) ' || statement LOOP
		IF line LIKE pattern THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$$;
SELECT shows(statement, '%cauce1:%') AS sealed, shows(statement, '%aperture%') AS plain FROM (VALUES
	($$SELECT '"aperture"'::cauce.encrypted_jsonb$$),
	($$INSERT INTO form VALUES (2, '["aperture"]')$$),
	($$SELECT '{"\"aperture\"",NULL}'::cauce.encrypted_jsonb[]$$),
	($$SELECT '(1,"""aperture""")'::form$$)) AS v (statement);

--
-- With identity: as jsonb
--
SELECT set_config('cauce.token', :'token', false) \g /dev/null
TRUNCATE form;
INSERT INTO form VALUES
	(1, '{"mood": "calm", "scores": [3, 1.50, {"of": "ten"}], "mood": "tired", "none": null}'), (2, '{}'), (3, NULL), (4, 'null'), (5, '""'),
	(6, '"ñandú — 漢字 😀 \u00e9 \ud83d\ude00 \" \\ \n"'), (7, ' [ ] '), (8, 'true'), (9, '-0.10e3'), (10, '7') RETURNING *;
SELECT id, body IS NULL AS isnull, jsonb_typeof(body), body = CASE id WHEN 10 THEN '7'::jsonb END AS seven FROM form ORDER BY id;
SELECT body->'scores', body->>'mood', body->'scores'->2->>'of', body #> '{scores,1}', body #>> '{scores,2,of}', body - 'scores', body #- '{scores,0}',
	body || '{"new": 1}'::jsonb FROM form WHERE id = 1;
SELECT body @> '{"mood": "tired"}', '{"mood": "tired"}' <@ body, body ? 'mood', body ?| ARRAY['x', 'mood'], body ?& ARRAY['x', 'mood'],
	body @? '$.scores[*] ? (@ > 2)', body @@ '$.mood == "tired"', body = '{}', body < '{}' FROM form WHERE id = 1;
SELECT jsonb_path_query(body, '$.scores[*]'), jsonb_array_length(body->'scores') FROM form WHERE id = 1;
SELECT jsonb_pretty(body) FROM form WHERE id = 1;
SELECT e.key, e.value, r.mood FROM form, jsonb_each(body) e, jsonb_to_record(body) AS r (mood text) WHERE id = 1;
SELECT (body::jsonb)['scores'][1], to_tsvector('simple', body) FROM form WHERE id = 1;
SELECT count(*) FROM form WHERE body @> '{"mood": "tired"}';
SELECT id FROM form WHERE body IS NOT NULL ORDER BY body::jsonb, id;
SELECT jsonb_agg(body ORDER BY id), json_agg(body ORDER BY id), jsonb_object_agg(id, body) FROM form WHERE id <= 4;
SELECT row_to_json(form), to_jsonb(form), form FROM form WHERE id IN (1, 3, 4) ORDER BY id;
SELECT COALESCE(body, '{}'), CASE WHEN id = 1 THEN body ELSE '[]' END FROM form WHERE id IN (1, 3) ORDER BY id;

-- What jsonb refuses
INSERT INTO form VALUES (20, '');
INSERT INTO form VALUES (20, '{"a": 1');
INSERT INTO form VALUES (20, '{"a": "\u0000"}');
INSERT INTO form VALUES (20, '{"a": 1e1000000}');
INSERT INTO form VALUES (20, repeat('[', 100000)::json);

-- Casts
SELECT '{"a": 1}'::jsonb::cauce.encrypted_jsonb, '{"a":1, "a":2}'::json::cauce.encrypted_jsonb, '[1]'::text::cauce.encrypted_jsonb, '[2]'::varchar::cauce.encrypted_jsonb;
SELECT pg_typeof(body::jsonb), pg_typeof(body::json), body::json, body::text, body::varchar(3), body::char(3) FROM form WHERE id = 1;
INSERT INTO form VALUES (30, '[30]'::jsonb), (31, '[31]'::json), (32, jsonb_build_object('n', 32)), (33, to_json(ARRAY[33]));
INSERT INTO form VALUES (34, '[34]'::text);
INSERT INTO form SELECT 35, body FROM form WHERE id = 32;
CREATE TABLE opened (j jsonb, s json, t text, v varchar);
INSERT INTO opened SELECT body, body, body, body FROM form WHERE id BETWEEN 30 AND 35 ORDER BY id;
SELECT * FROM opened;
SELECT '{"a": 1}'::cauce.encrypted_jsonb::cauce.encrypted_text;

-- Long values
INSERT INTO form SELECT 40, jsonb_build_object('long', repeat('0123456789abcdef', 65536));
INSERT INTO form SELECT 41, jsonb_agg(md5(n::text)) FROM generate_series(1, 32768) n;
SELECT id, md5(body::text) = md5(CASE id WHEN 40 THEN jsonb_build_object('long', repeat('0123456789abcdef', 65536))
	ELSE (SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, 32768) n) END::text) AS same FROM form WHERE id IN (40, 41) ORDER BY id;
SELECT count(*), bool_and((to_jsonb(repeat('y', n))::cauce.encrypted_jsonb)::jsonb = to_jsonb(repeat('y', n))) FROM generate_series(200, 300) n;

-- Arrays, domains, variables, the row type
SELECT ARRAY['{"a": 1}', '[]']::cauce.encrypted_jsonb[], ('{"[1]",NULL,"{\"k\": 2}"}'::cauce.encrypted_jsonb[])[3]->'k';
SELECT array_agg(body ORDER BY id)::jsonb[] FROM form WHERE id IN (2, 3, 4);
SELECT to_jsonb(ARRAY['{"a": 1}', NULL, 'null']::cauce.encrypted_jsonb[]);
CREATE DOMAIN answers AS cauce.encrypted_jsonb CHECK (jsonb_typeof(VALUE) = 'object');
SELECT '{"a": 1}'::answers, '{"a": 1}'::answers->'a';
SELECT '[1]'::answers;
DO $$
DECLARE
	a cauce.encrypted_jsonb := '{"n": 1}';
	b jsonb;
	r form;
BEGIN
	b := a;
	a := b || '{"m": 2}';
	r := (50, a);
	INSERT INTO form SELECT r.*;
END
$$;
SELECT body FROM form WHERE id = 50;
SELECT * FROM jsonb_populate_record(NULL::form, '{"id": 60, "body": {"a": [1]}}');

-- Statements
PREPARE add (int, jsonb) AS INSERT INTO form VALUES ($1, $2) RETURNING body;
EXECUTE add (70, '{"n": 70}');
PREPARE add_sealed (int, cauce.encrypted_jsonb) AS INSERT INTO form VALUES ($1, $2) RETURNING body->'n';
EXECUTE add_sealed (71, '{"n": 71}');
INSERT INTO form VALUES (70, '{"m": 1}') ON CONFLICT (id) DO UPDATE SET body = form.body || excluded.body::jsonb RETURNING body;
UPDATE form SET body = jsonb_set(body, '{n}', '"new"') WHERE id = 70 RETURNING body;
DELETE FROM form WHERE id = 71 RETURNING body;
MERGE INTO form USING (VALUES (70, '{"merged": true}'::jsonb), (72, '[72]')) AS v (id, body) ON form.id = v.id
	WHEN MATCHED THEN UPDATE SET body = v.body WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.body);
SELECT body FROM form WHERE id >= 70 ORDER BY id;
COPY form FROM STDIN;
80	{"quoted": "a\\"b", "tab": "\\t"}
81	\N
82	null
\.
COPY (SELECT * FROM form WHERE id >= 80 ORDER BY id) TO STDOUT;
COPY (SELECT * FROM form WHERE id >= 80 ORDER BY id) TO STDOUT (FORMAT csv);
COPY form FROM STDIN;
83	{"open":
\.

-- No index, no order, no statistics
CREATE INDEX ON form (body);
CREATE INDEX ON form USING hash (body);
CREATE INDEX ON form USING gin (body);
CREATE INDEX ON form USING gin ((body::jsonb));
CREATE INDEX ON form ((body->>'mood'));
CREATE INDEX ON form (id) WHERE body ? 'mood';
CREATE TABLE keyed (body cauce.encrypted_jsonb PRIMARY KEY);
CREATE TABLE excluding (body cauce.encrypted_jsonb, EXCLUDE (body WITH =));
CREATE TABLE excluding (body cauce.encrypted_jsonb, EXCLUDE ((body->>'a') WITH =));
CREATE TABLE divided (body cauce.encrypted_jsonb) PARTITION BY LIST (body);
CREATE TABLE divided (body cauce.encrypted_jsonb) PARTITION BY LIST ((body->>'a'));
CREATE TABLE generated (body cauce.encrypted_jsonb, plain text GENERATED ALWAYS AS (body->>'a') STORED);
SELECT body FROM form ORDER BY body;
SELECT DISTINCT body FROM form;
CREATE STATISTICS form_statistics ON id, body FROM form;
CREATE STATISTICS form_statistics ON (body->>'mood') FROM form;
CREATE STATISTICS form_statistics ON id, (jsonb_typeof(body)) FROM form;
ANALYZE form;
SELECT attname FROM pg_stats WHERE tablename = 'form' ORDER BY 1;

-- The sealed form
SELECT set_config('cauce.token', '', false) \g /dev/null
SELECT body AS sealed FROM form WHERE id = 1 \gset
INSERT INTO form VALUES (90, :'sealed');
SELECT 'cauce1:rubbish!'::cauce.encrypted_jsonb;
SELECT 'aperture'::cauce.encrypted_text AS text_form, '\x00'::cauce.encrypted_bytea AS bytes_form \gset
SELECT :'text_form'::cauce.encrypted_jsonb;
SELECT :'bytes_form'::cauce.encrypted_jsonb;
SELECT set_config('cauce.token', :'token', false) \g /dev/null
SELECT body FROM form WHERE id = 90;
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_app;
RESET client_min_messages;
CREATE ROLE regress_app IN ROLE cauce_app;
GRANT ALL ON form TO regress_app;
SET ROLE regress_app;
-- for anybody else it is not JSON
INSERT INTO form VALUES (91, :'sealed');
RESET ROLE;

-- Changing a column's type seals and opens.
CREATE TABLE changing (body jsonb);
INSERT INTO changing VALUES ('{"a": "aperture"}');
ALTER TABLE changing ALTER body TYPE cauce.encrypted_jsonb;
SELECT body, pg_typeof(body) FROM changing;
ALTER TABLE changing ALTER body TYPE jsonb;
SELECT body, pg_typeof(body) FROM changing;
CREATE STATISTICS changing_statistics ON (body::text) FROM changing;
ALTER TABLE changing ALTER body TYPE cauce.encrypted_jsonb;

DROP TABLE form, opened, changing;
DROP FUNCTION shows;
DROP DOMAIN answers;
DROP ROLE regress_app;
