--
-- Without identity there is nothing to see and nothing to do, for any role.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cauce CASCADE;
DROP ROLE IF EXISTS regress_app, regress_nobody;
RESET client_min_messages;
CREATE ROLE regress_app IN ROLE cauce_app;
CREATE ROLE regress_nobody;

-- A role that was granted nothing does not even reach the schema.
SET ROLE regress_nobody;
SELECT cauce.account_id();
SELECT count(*) FROM cauce.session;
SELECT 'x'::cauce.encrypted_text;
RESET ROLE;

-- An application without identity
SET ROLE regress_app;
SELECT cauce.account_id(), cauce.organization_id(), cauce.is_admin(), cauce.token_scope();
SELECT (SELECT count(*) FROM cauce.organization), (SELECT count(*) FROM cauce.account), (SELECT count(*) FROM cauce.session),
	(SELECT count(*) FROM cauce.transcript_segment), (SELECT count(*) FROM cauce.report), (SELECT count(*) FROM cauce.alert),
	(SELECT count(*) FROM cauce.archived_session), (SELECT count(*) FROM cauce.erasure_certificate), (SELECT count(*) FROM cauce.my_access_log);
SELECT count(*) FROM cauce.data_key;
SELECT count(*) FROM cauce.audit_log;
SELECT count(*) FROM cauce.retention_run;
INSERT INTO cauce.session (title) VALUES ('x');
INSERT INTO cauce.session (account_id, title) VALUES ('00000000-0000-0000-0000-000000000000', 'x');
INSERT INTO cauce.report (session_id, body) VALUES ('00000000-0000-0000-0000-000000000000', 'x');
UPDATE cauce.session SET title = 'x';
UPDATE cauce.session SET account_id = NULL;
UPDATE cauce.report SET account_id = NULL;
DELETE FROM cauce.session;
DELETE FROM cauce.erasure_certificate;
TRUNCATE cauce.session;
SELECT cauce.set_retention(1);
SELECT cauce.stream_token('00000000-0000-0000-0000-000000000000');
SELECT cauce.archive_session('00000000-0000-0000-0000-000000000000');
SELECT cauce.restore_session('00000000-0000-0000-0000-000000000000');
SELECT cauce.set_organization_retention('00000000-0000-0000-0000-000000000000', 1);
SELECT cauce.set_organization_retention(NULL, 1);
SELECT cauce.create_account('intruder');
SELECT cauce.create_organization('intruder');
SELECT cauce.run_retention();
SELECT cauce.keyring_create();
SELECT cauce.verify_certificate('00000000-0000-0000-0000-000000000000');
SELECT cauce.open_certificate('rubbish'), cauce.open_certificate('a.b.c'), cauce.open_certificate('');
SELECT jsonb_typeof(cauce.certificate_jwks()->'keys'), cauce.certificate_jwks()::text LIKE '%"d"%' AS private;
-- It cannot make itself one.
SET cauce.token = 'rubbish';
SET cauce.token = '';
SET ROLE cauce_operator;
RESET ROLE;

-- The triggers are for the tables they were made for.
CREATE TABLE trap (account_id uuid, id uuid, body cauce.encrypted_text);
CREATE TRIGGER a BEFORE INSERT ON trap FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('id');
INSERT INTO trap VALUES (gen_random_uuid(), gen_random_uuid(), 'x');
DROP TRIGGER a ON trap;
CREATE TRIGGER a AFTER INSERT ON trap FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('id');
INSERT INTO trap VALUES (gen_random_uuid(), gen_random_uuid(), 'x');
DROP TRIGGER a ON trap;
CREATE TRIGGER a BEFORE INSERT ON trap FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('none');
INSERT INTO trap VALUES (gen_random_uuid(), gen_random_uuid(), 'x');
DROP TRIGGER a ON trap;
CREATE TRIGGER a BEFORE INSERT ON trap FOR EACH ROW EXECUTE FUNCTION cauce.keep_session();
INSERT INTO trap VALUES (gen_random_uuid(), gen_random_uuid(), 'x');
DROP TRIGGER a ON trap;
CREATE TRIGGER a BEFORE INSERT ON trap FOR EACH ROW EXECUTE FUNCTION cauce.erase_session();
INSERT INTO trap VALUES (gen_random_uuid(), gen_random_uuid(), 'x');
DROP TABLE trap;
SELECT cauce.seal_row();

-- TRUNCATE is no erasure.
TRUNCATE cauce.session CASCADE;
TRUNCATE cauce.report;
TRUNCATE cauce.archived_session;
TRUNCATE cauce.erasure_certificate;
TRUNCATE cauce.audit_log;
DROP ROLE regress_app, regress_nobody;
