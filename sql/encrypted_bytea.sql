--
-- encrypted_bytea: bytea for its owner, sealed for everybody else.
--
\set VERBOSITY terse
\encoding UTF8
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cauce CASCADE;
RESET client_min_messages;
SELECT cauce.create_account('regress bytea') IS NOT NULL AS made;
SELECT pg_catalog.regexp_replace(current_setting('cauce.token_keys_file'), '/keys/tokens.jwks$', '') AS dir \gset
\setenv CAUCE_DIR :dir
\set token `dev/token "$CAUCE_DIR" 'regress bytea'`

CREATE TABLE file (id int PRIMARY KEY, body cauce.encrypted_bytea);

--
-- Without identity: what goes in is sealed, and stays so
--
INSERT INTO file VALUES (1, '\x6170657274757265');
SELECT id, left(cauce.encrypted_bytea_out(body)::text, 7) AS body FROM file;
SELECT encode(substr(cauce.encrypted_bytea_send(body), 1, 7), 'escape') FROM file;
SELECT body::bytea FROM file;
SELECT body::text FROM file;
SELECT body::varchar FROM file;
SELECT body::char(10) FROM file;
SELECT length(body) FROM file;
SELECT body || 'x' FROM file;
SELECT * FROM file WHERE body = 'aperture';
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
SELECT shows(statement, '%cauce1:%') AS sealed, shows(statement, '%aperture%') OR shows(statement, '%6170657274757265%') AS plain FROM (VALUES
	($$SELECT 'aperture'::cauce.encrypted_bytea$$),
	($$INSERT INTO file VALUES (2, '\x6170657274757265')$$),
	($$SELECT '{aperture,NULL}'::cauce.encrypted_bytea[]$$)) AS v (statement);

--
-- With identity: as bytea
--
SELECT set_config('cauce.token', :'token', false) \g /dev/null
TRUNCATE file;
INSERT INTO file VALUES (1, '\x00ff41'), (2, ''), (3, NULL), (4, '\x00'), (5, 'abc\\\000\377') RETURNING *;
SELECT id, body IS NULL AS isnull, length(body), octet_length(body) FROM file ORDER BY id;
SET bytea_output = escape;
SELECT body, body::text FROM file ORDER BY id;
RESET bytea_output;
SELECT encode(body, 'hex'), substr(body, 2, 1), get_byte(body, 1), sha256(body) = sha256('\x00ff41'), md5(body), body = '\x00ff41', body <> '\x00', body < '\x01',
	body || '\x00'::bytea, overlay(body PLACING '\x01' FROM 1 FOR 1), position('\xff' IN body), convert_from(substr(body, 3), 'UTF8') FROM file WHERE id = 1;
SELECT string_agg(body, '\x2c'::bytea ORDER BY id) FROM file WHERE id <= 4;
SELECT id FROM file WHERE body IS NOT NULL ORDER BY body::bytea, id;
SELECT row_to_json(file), to_jsonb(file), file FROM file WHERE id = 1;
SELECT COALESCE(body, '\x01'), CASE WHEN id = 1 THEN body ELSE '\x02' END FROM file WHERE id IN (1, 3) ORDER BY id;

-- What bytea refuses
INSERT INTO file VALUES (20, '\x0');
INSERT INTO file VALUES (20, '\xzz');
INSERT INTO file VALUES (20, '\9');

-- Casts
SELECT '\x01'::bytea::cauce.encrypted_bytea, '\x02'::text::cauce.encrypted_bytea, 'three'::varchar::cauce.encrypted_bytea;
SELECT pg_typeof(body::bytea), body::bytea, body::text, body::varchar(4), body::char(3) FROM file WHERE id = 1;
INSERT INTO file VALUES (30, '\x30'::bytea), (31, sha256('a')), (32, convert_to('é', 'UTF8'));
INSERT INTO file VALUES (33, 'a'::text);
INSERT INTO file SELECT 33, body FROM file WHERE id = 32;
CREATE TABLE opened (b bytea, t text);
INSERT INTO opened SELECT body, body FROM file WHERE id BETWEEN 30 AND 33 ORDER BY id;
SELECT * FROM opened;

-- Long values
INSERT INTO file SELECT 40, decode(repeat('00', 1048576), 'hex');
INSERT INTO file SELECT 41, string_agg(sha256(n::text::bytea), '') FROM generate_series(1, 32768) n;
SELECT id, length(body), md5(body) = md5(CASE id WHEN 40 THEN decode(repeat('00', 1048576), 'hex')
	ELSE (SELECT string_agg(sha256(n::text::bytea), '') FROM generate_series(1, 32768) n) END) AS same, pg_column_size(body) < 10000 AS small
	FROM file WHERE id IN (40, 41) ORDER BY id;
SELECT count(*), bool_and((decode(repeat('00', n), 'hex')::cauce.encrypted_bytea)::bytea = decode(repeat('00', n), 'hex')) FROM generate_series(200, 300) n;

-- Arrays, domains, variables, the row type
SELECT ARRAY['\x01', 'b']::cauce.encrypted_bytea[], ('{"\\x01",NULL,"\\x02ff"}'::cauce.encrypted_bytea[])[3];
SELECT array_agg(body ORDER BY id)::bytea[] FROM file WHERE id <= 4;
CREATE DOMAIN picture AS cauce.encrypted_bytea CHECK (substr(VALUE, 1, 4) = '\x89504e47');
SELECT '\x89504e470d'::picture;
SELECT '\xffd8'::picture;
DO $$
DECLARE
	a cauce.encrypted_bytea := '\x01';
	b bytea;
	r file;
BEGIN
	b := a;
	a := b || '\x02'::bytea;
	r := (50, a);
	INSERT INTO file SELECT r.*;
END
$$;
SELECT body FROM file WHERE id = 50;
SELECT * FROM json_populate_record(NULL::file, (SELECT row_to_json(f) FROM file f WHERE id = 50));

-- Statements
PREPARE add (int, bytea) AS INSERT INTO file VALUES ($1, $2) RETURNING body;
EXECUTE add (70, '\x70');
PREPARE add_sealed (int, cauce.encrypted_bytea) AS INSERT INTO file VALUES ($1, $2) RETURNING length(body);
EXECUTE add_sealed (71, '\x7171');
INSERT INTO file VALUES (70, '\xaa') ON CONFLICT (id) DO UPDATE SET body = file.body || excluded.body::bytea RETURNING body;
UPDATE file SET body = set_byte(body, 0, 1) WHERE id = 70 RETURNING body;
DELETE FROM file WHERE id = 71 RETURNING body;
MERGE INTO file USING (VALUES (70, '\x70'::bytea), (72, '\x72')) AS v (id, body) ON file.id = v.id
	WHEN MATCHED THEN UPDATE SET body = v.body WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.body);
SELECT body FROM file WHERE id >= 70 ORDER BY id;
COPY file FROM STDIN (DELIMITER '|');
80|\\x00ff
81|\N
82|
83|abc\\\\
\.
COPY (SELECT * FROM file WHERE id >= 80 ORDER BY id) TO STDOUT;
COPY (SELECT * FROM file WHERE id >= 80 ORDER BY id) TO STDOUT (FORMAT csv);

-- No index, no order, no statistics
CREATE INDEX ON file (body);
CREATE INDEX ON file USING hash (body);
CREATE INDEX ON file USING brin (body);
CREATE INDEX ON file ((body::bytea));
CREATE INDEX ON file (sha256(body));
CREATE INDEX ON file (id) WHERE body = '\x00';
CREATE TABLE keyed (body cauce.encrypted_bytea UNIQUE);
CREATE TABLE excluding (body cauce.encrypted_bytea, EXCLUDE (body WITH =));
CREATE TABLE divided (body cauce.encrypted_bytea) PARTITION BY HASH (body);
CREATE TABLE generated (body cauce.encrypted_bytea, plain bytea GENERATED ALWAYS AS (sha256(body)) STORED);
SELECT body FROM file ORDER BY body;
SELECT DISTINCT body FROM file;
CREATE STATISTICS file_statistics ON id, body FROM file;
CREATE STATISTICS file_statistics ON (length(body)) FROM file;
ANALYZE file;
SELECT attname FROM pg_stats WHERE tablename = 'file' ORDER BY 1;

-- The sealed form
SELECT set_config('cauce.token', '', false) \g /dev/null
SELECT body AS sealed FROM file WHERE id = 1 \gset
INSERT INTO file VALUES (90, :'sealed');
SELECT 'cauce1:rubbish!'::cauce.encrypted_bytea;
SELECT 'aperture'::cauce.encrypted_text AS text_form, '"aperture"'::cauce.encrypted_jsonb AS jsonb_form \gset
SELECT :'text_form'::cauce.encrypted_bytea;
SELECT :'jsonb_form'::cauce.encrypted_bytea;
SELECT :'sealed'::cauce.encrypted_text;
SELECT set_config('cauce.token', :'token', false) \g /dev/null
SELECT body FROM file WHERE id = 90;
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_app;
RESET client_min_messages;
CREATE ROLE regress_app IN ROLE cauce_app;
GRANT ALL ON file TO regress_app;
SET ROLE regress_app;
-- for anybody else it is bytes like any other
INSERT INTO file VALUES (91, :'sealed'), (92, 'cauce1:'), (93, '\x6361756365313a414141'), (94, 'cauce1:AAAA'::bytea);
SELECT body FROM file WHERE id > 91 ORDER BY id;
SELECT convert_from(body, 'UTF8') = :'sealed' AS as_it_went_in FROM file WHERE id = 91;
RESET ROLE;

-- Changing a column's type seals and opens.
CREATE TABLE changing (body bytea);
INSERT INTO changing VALUES ('aperture');
ALTER TABLE changing ALTER body TYPE cauce.encrypted_bytea;
SELECT body, pg_typeof(body) FROM changing;
ALTER TABLE changing ALTER body TYPE bytea;
SELECT body, pg_typeof(body) FROM changing;

DROP TABLE file, opened, changing;
DROP FUNCTION shows;
DROP DOMAIN picture;
DROP ROLE regress_app;
