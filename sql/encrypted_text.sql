--
-- The type: text for its owner, sealed for everybody else. The identity comes
-- from the cluster that dev/cluster made: its token key signs for an account
-- that this database gives the same name.
--
\set VERBOSITY terse
\encoding UTF8
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cauce CASCADE;
RESET client_min_messages;
SELECT cauce.create_account('regress') IS NOT NULL AS made;
SELECT pg_catalog.regexp_replace(current_setting('cauce.token_keys_file'), '/keys/tokens.jwks$', '') AS dir \gset
\setenv CAUCE_DIR :dir
\set token `dev/token "$CAUCE_DIR" regress`

CREATE TABLE note (id int PRIMARY KEY, body cauce.encrypted_text);

--
-- Without identity: what goes in is sealed, and stays so
--
INSERT INTO note VALUES (1, 'before') RETURNING id, body::pg_catalog.text;
INSERT INTO note VALUES (1, 'before');
SELECT id, left(cauce.encrypted_text_out(body)::text, 7) AS body FROM note;
SELECT body::text FROM note;
SELECT body::varchar FROM note;
SELECT body::char(10) FROM note;
SELECT length(body) FROM note;
SELECT body || '' FROM note;
SELECT * FROM note WHERE body = 'before';
EXPLAIN (VERBOSE, COSTS OFF) SELECT * FROM note WHERE id = 2 AND body = 'x';
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
SELECT shows($$SELECT 'aperture'::cauce.encrypted_text$$, '%cauce1:%') AS sealed,
	shows($$SELECT 'aperture'::cauce.encrypted_text$$, '%aperture%') AS plain;
SELECT shows($$INSERT INTO note VALUES (2, 'aperture')$$, '%cauce1:%') AS sealed,
	shows($$INSERT INTO note VALUES (2, 'aperture')$$, '%aperture%') AS plain;
-- What was sealed without identity belongs to the database's inbox: no account opens it.
SELECT count(DISTINCT cauce.encrypted_text_out('same'::text::cauce.encrypted_text)::text) FROM generate_series(1, 100);

--
-- With identity
--
SELECT set_config('cauce.token', :'token', false) \g /dev/null
SELECT body::text FROM note WHERE id = 1;
TRUNCATE note;
INSERT INTO note VALUES
	(1, 'plain'), (2, ''), (3, NULL), (4, 'x'), (5, 'ñandú — 漢字 😀'), (6, E'tab\tnewline\nbackslash\\quote''"') RETURNING *;
SELECT * FROM note ORDER BY id;
SELECT id, body IS NULL AS isnull, length(body), octet_length(body) FROM note ORDER BY id;
\x
SELECT body FROM note WHERE id = 6;
\x

-- Long values
INSERT INTO note VALUES (20, repeat('0123456789abcdef', 65536));
INSERT INTO note SELECT 21, string_agg(md5(n::text), '') FROM generate_series(1, 32768) n;
SELECT id, length(body), md5(body) = md5(CASE id WHEN 20 THEN repeat('0123456789abcdef', 65536)
	ELSE (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 32768) n) END) AS same,
	pg_column_size(body) < 20000 AS small FROM note WHERE id >= 20 ORDER BY id;
-- around the size from which values are compressed
SELECT count(*), bool_and(repeat('y', n)::cauce.encrypted_text::text = repeat('y', n)) FROM generate_series(200, 300) n;

-- Casts
SELECT 'a'::cauce.encrypted_text::text, 'a'::text::cauce.encrypted_text, 'a'::varchar::cauce.encrypted_text, 'abc'::cauce.encrypted_text::varchar(2), 'abc'::cauce.encrypted_text::char(2);
SELECT CAST('a' AS cauce.encrypted_text), cauce.encrypted_text 'a';
INSERT INTO note VALUES (30, 'v'::varchar), (31, 'c'::char(3)), (32, 'n'::name), (33, 5), (34, 'u'::"char"), (35, '{"a": 1}'::json::text);
INSERT INTO note VALUES (36, '{"a": 1}'::json);
INSERT INTO note VALUES (37, 1.5);
SELECT id, body FROM note WHERE id BETWEEN 30 AND 39 ORDER BY id;
SELECT 5::cauce.encrypted_text;

-- Functions and operators of text
SELECT body = 'plain', body <> 'x', body < 'z', body ~ '^p', body LIKE 'p%', body ILIKE 'P%', body || '!', '>' || body, upper(body),
	substr(body, 2, 2), body IN ('a', 'plain'), body = ANY (ARRAY['plain']) FROM note WHERE id = 1;
SELECT to_tsvector('english', 'walking'::cauce.encrypted_text), to_tsvector('english', 'walking'::cauce.encrypted_text) @@ to_tsquery('walk');
SELECT COALESCE(body, 'none') FROM note WHERE id IN (1, 3) ORDER BY id;
SELECT COALESCE(body, 'none'::text) FROM note WHERE id IN (1, 3) ORDER BY id;
SELECT CASE WHEN id = 1 THEN body ELSE 'other' END FROM note WHERE id IN (1, 4) ORDER BY id;
SELECT NULLIF(body, 'plain') FROM note WHERE id = 1;
SELECT concat(body, '-', body), format('%s', body), replace(body, 'a', 'A') FROM note WHERE id = 1;
SELECT string_agg(body, ',' ORDER BY id) FROM note WHERE id IN (1, 4);
SELECT min(body), max(body) FROM note WHERE id IN (1, 4);
SELECT to_jsonb(note), row_to_json(note), note FROM note WHERE id = 1;
SELECT a.body = b.body FROM note a JOIN note b ON a.body = b.body::text WHERE a.id = 1;
SELECT body FROM note WHERE id IN (1, 4) ORDER BY body::text;
SELECT body::text, count(*) FROM note WHERE id IN (1, 4) GROUP BY body::text ORDER BY 1;

-- The type itself has no order and no equality: it is not to be indexed, sorted or grouped.
SELECT body FROM note ORDER BY body;
SELECT DISTINCT body FROM note;
SELECT body FROM note GROUP BY body;
SELECT body FROM note UNION SELECT body FROM note;

-- Arrays
SELECT ARRAY['a', 'b']::cauce.encrypted_text[];
SELECT ('{a,NULL,"c d"}'::cauce.encrypted_text[])[3];
SELECT unnest(ARRAY['a', 'b']::cauce.encrypted_text[]);
SELECT array_agg(body ORDER BY id)::text[] FROM note WHERE id IN (1, 4);

-- Domains, composite values, variables
CREATE DOMAIN short_note AS cauce.encrypted_text CHECK (length(VALUE) < 10);
SELECT 'fine'::short_note;
SELECT 'far too long to be short'::short_note;
DO $$
DECLARE
	a cauce.encrypted_text := 'one';
	b text;
	r note;
BEGIN
	b := a;
	a := b || ' two';
	r := (40, a);
	INSERT INTO note SELECT r.*;
END
$$;
SELECT body FROM note WHERE id = 40;

-- Statements
PREPARE add (int, text) AS INSERT INTO note VALUES ($1, $2) RETURNING body;
EXECUTE add (50, 'fifty');
PREPARE add_sealed (int, cauce.encrypted_text) AS INSERT INTO note VALUES ($1, $2) RETURNING body;
EXECUTE add_sealed (51, 'fifty-one');
INSERT INTO note VALUES (50, 'new') ON CONFLICT (id) DO UPDATE SET body = note.body || '+' || excluded.body RETURNING body;
INSERT INTO note VALUES (50, 'newer') ON CONFLICT DO NOTHING RETURNING body;
UPDATE note SET body = upper(body) WHERE id = 50 RETURNING body;
UPDATE note n SET body = o.body FROM note o WHERE n.id = 51 AND o.id = 50 RETURNING n.body;
DELETE FROM note WHERE id = 51 RETURNING body;
MERGE INTO note USING (VALUES (50, 'merged')) AS v (id, body) ON note.id = v.id WHEN MATCHED THEN UPDATE SET body = v.body;
WITH moved AS (DELETE FROM note WHERE id = 50 RETURNING body) INSERT INTO note SELECT 52, body FROM moved RETURNING body;
COPY note FROM STDIN (DELIMITER '|');
60|sixty\ttab
61|\N
62|
\.
COPY (SELECT * FROM note WHERE id >= 60 ORDER BY id) TO STDOUT;
COPY (SELECT * FROM note WHERE id >= 60 ORDER BY id) TO STDOUT (FORMAT csv);
BEGIN;
DECLARE c CURSOR FOR SELECT body FROM note WHERE id IN (1, 4) ORDER BY id;
FETCH ALL FROM c;
COMMIT;
CREATE TEMP TABLE copy_of_note AS SELECT * FROM note WHERE id = 1;
SELECT pg_typeof(body), body FROM copy_of_note;

-- A default and a view hold their literal sealed.
CREATE TABLE with_default (id int, body cauce.encrypted_text DEFAULT 'aperture');
INSERT INTO with_default VALUES (1);
SELECT * FROM with_default;
CREATE VIEW with_literal AS SELECT 'aperture'::cauce.encrypted_text AS body;
SELECT * FROM with_literal;
SELECT count(*) FROM pg_attrdef WHERE adbin::text LIKE '%' || array_to_string(ARRAY(SELECT ascii(c) FROM regexp_split_to_table('aperture', '') c), ' ') || '%';
SELECT count(*) FROM pg_rewrite WHERE ev_action::text LIKE '%' || array_to_string(ARRAY(SELECT ascii(c) FROM regexp_split_to_table('aperture', '') c), ' ') || '%';

-- No index, no constraint by value, no statistics
CREATE INDEX ON note (body);
CREATE INDEX ON note USING hash (body);
CREATE INDEX ON note USING gin (body);
CREATE INDEX ON note USING brin (body);
CREATE INDEX ON note ((body::text));
CREATE INDEX ON note (lower(body));
CREATE INDEX ON note USING gin (to_tsvector('english', body));
CREATE INDEX ON note (id) WHERE body = 'x';
CREATE TABLE keyed (body cauce.encrypted_text PRIMARY KEY);
CREATE TABLE keyed (body cauce.encrypted_text UNIQUE);
CREATE TABLE divided (body cauce.encrypted_text) PARTITION BY LIST (body);
CREATE TABLE generated (body cauce.encrypted_text, plain text GENERATED ALWAYS AS (body || '') STORED);
CREATE STATISTICS note_statistics ON id, body FROM note;
ANALYZE note;
SELECT attname FROM pg_stats WHERE tablename = 'note' ORDER BY 1;
SELECT count(*) FROM pg_statistic WHERE starelid = 'note'::regclass AND staattnum = 2;
CREATE STATISTICS note_statistics ON (body::text) FROM note;
CREATE STATISTICS note_statistics ON id, (length(body)) FROM note;
CREATE STATISTICS note_statistics ON (array_length(ARRAY[body], 1)) FROM note;
-- What says that it is immutable, and is not, would be an index's next way.
CREATE FUNCTION words(cauce.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
CREATE INDEX ON note (words(body));
CREATE INDEX ON note (id) WHERE words(body) = 'x';
CREATE TABLE generated (body cauce.encrypted_text, plain text GENERATED ALWAYS AS (words(body)) STORED);
ALTER TABLE note ADD plain text GENERATED ALWAYS AS (words(body)) STORED;
-- Whether there is any content is no secret.
CREATE INDEX ON note (id) WHERE body IS NULL;
CREATE STATISTICS note_statistics ON (body IS NULL) FROM note;
ALTER TABLE note ADD empty boolean GENERATED ALWAYS AS (body IS NULL) STORED;
ALTER TABLE note DROP empty;
DROP STATISTICS note_statistics;
-- A function that hides the column from the catalog opens nothing for what ANALYZE and REFRESH would store.
CREATE FUNCTION words(id int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT body::text FROM public.note WHERE note.id = $1';
CREATE STATISTICS note_statistics ON (words(id)) FROM note;
ANALYZE note;
SELECT count(*) FROM pg_stats_ext_exprs WHERE tablename = 'note' AND most_common_vals IS NOT NULL;
CREATE MATERIALIZED VIEW stored AS SELECT body::text FROM note;
CREATE MATERIALIZED VIEW stored AS SELECT body FROM note WHERE id = 1;
SELECT body, pg_typeof(body) FROM stored;
REFRESH MATERIALIZED VIEW stored;
DROP STATISTICS note_statistics;
DROP FUNCTION words(int), words(cauce.encrypted_text);
DROP MATERIALIZED VIEW stored;

-- Under one's own identity EXPLAIN shows one's own words, to oneself.
SELECT shows($$INSERT INTO note VALUES (2, 'aperture')$$, '%aperture%') AS plain;

--
-- The sealed form
--
SELECT set_config('cauce.token', '', false) \g /dev/null
-- a superuser carries it from place to place, byte by byte
SELECT body AS sealed FROM note WHERE id = 1 \gset
INSERT INTO note VALUES (70, :'sealed');
SELECT a.body_out = b.body_out AS same FROM
	(SELECT cauce.encrypted_text_out(body)::text AS body_out FROM note WHERE id = 1) a,
	(SELECT cauce.encrypted_text_out(body)::text AS body_out FROM note WHERE id = 70) b;
SELECT 'cauce1:rubbish!'::cauce.encrypted_text;
SELECT 'cauce1:AAAA'::cauce.encrypted_text;
SELECT set_config('cauce.token', :'token', false) \g /dev/null
SELECT body FROM note WHERE id = 70;
-- for anybody else it is text like any other
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_app;
RESET client_min_messages;
CREATE ROLE regress_app IN ROLE cauce_app;
GRANT ALL ON note TO regress_app;
SET ROLE regress_app;
INSERT INTO note VALUES (71, 'cauce1:'), (72, 'cauce1:AAAA'), (73, :'sealed');
SELECT id, body, body = :'sealed' AS as_it_went_in FROM note WHERE id IN (71, 72) ORDER BY id;
SELECT body = :'sealed' AS as_it_went_in FROM note WHERE id = 73;
RESET ROLE;

-- Changing a column's type seals and opens.
CREATE TABLE changing (body text);
INSERT INTO changing VALUES ('aperture');
ALTER TABLE changing ALTER body TYPE cauce.encrypted_text;
SELECT body, pg_typeof(body) FROM changing;
ALTER TABLE changing ALTER body TYPE text;
SELECT body, pg_typeof(body) FROM changing;

DROP TABLE note, copy_of_note, with_default, changing;
DROP VIEW with_literal;
DROP FUNCTION shows;
DROP DOMAIN short_note;
DROP ROLE regress_app;
