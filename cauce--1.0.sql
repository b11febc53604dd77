/* cauce--1.0.sql */

-- complain if the script is sourced in psql, rather than through CREATE EXTENSION
\echo Use "CREATE EXTENSION cauce" to load this file. \quit

-- A schema that somebody else made beforehand could be filled with traps.
DO $$
BEGIN
	IF EXISTS (SELECT 1 FROM pg_catalog.pg_namespace n
			   WHERE n.nspname = 'cauce' AND n.nspowner <> (SELECT r.oid FROM pg_catalog.pg_roles r
															 WHERE r.rolname = current_user)) THEN
		RAISE EXCEPTION 'schema cauce belongs to another role'
			USING ERRCODE = '42501', HINT = 'Drop or rename it, then create the extension again.';
	END IF;
END
$$;

-- Nothing in this script is looked up where anybody else may have put a look-alike.
SET LOCAL search_path = pg_catalog, pg_temp;

--
-- Roles. None may log in; they are the cluster's and outlive the extension.
--

DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['cauce_app', 'cauce_stream', 'cauce_operator', 'cauce_auditor'] LOOP
		IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', name);
		END IF;
	END LOOP;
END
$$;

REVOKE ALL ON SCHEMA cauce FROM PUBLIC;
GRANT USAGE ON SCHEMA cauce TO cauce_app, cauce_stream, cauce_operator, cauce_auditor;

--
-- Types
--

CREATE TYPE cauce.retention_action AS ENUM ('archive', 'delete');
COMMENT ON TYPE cauce.retention_action IS 'what happens to a session when its retention ends';

CREATE TYPE cauce.account_role AS ENUM ('professional', 'admin');
COMMENT ON TYPE cauce.account_role IS 'what an account is in its organization';

CREATE TYPE cauce.encrypted_text;

CREATE FUNCTION cauce.encrypted_text_in(cstring) RETURNS cauce.encrypted_text
	AS 'MODULE_PATHNAME', 'cauce_encrypted_text_in' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION cauce.encrypted_text_out(cauce.encrypted_text) RETURNS cstring
	AS 'MODULE_PATHNAME', 'cauce_encrypted_text_out' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION cauce.encrypted_text_recv(internal) RETURNS cauce.encrypted_text
	AS 'MODULE_PATHNAME', 'cauce_encrypted_text_recv' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION cauce.encrypted_text_send(cauce.encrypted_text) RETURNS bytea
	AS 'MODULE_PATHNAME', 'cauce_encrypted_text_send' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION cauce.no_statistics(internal) RETURNS boolean
	AS 'MODULE_PATHNAME', 'cauce_no_statistics' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;

CREATE TYPE cauce.encrypted_text (
	INPUT = cauce.encrypted_text_in,
	OUTPUT = cauce.encrypted_text_out,
	RECEIVE = cauce.encrypted_text_recv,
	SEND = cauce.encrypted_text_send,
	ANALYZE = cauce.no_statistics,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = int4,
	STORAGE = external,
	CATEGORY = 'S'
);
COMMENT ON TYPE cauce.encrypted_text IS
	'text that is sealed (AES-256-GCM) wherever it is stored; opens for the signed identity it belongs to, shows cauce1:… to anybody else';
COMMENT ON FUNCTION cauce.encrypted_text_in(cstring) IS
	'seals text under the account key of the identity in force, or the inbox key';
COMMENT ON FUNCTION cauce.encrypted_text_out(cauce.encrypted_text) IS
	'the text for those who may have it, else the sealed form; XX001 when damaged';
COMMENT ON FUNCTION cauce.encrypted_text_recv(internal) IS 'binary input: the text in the client''s encoding';
COMMENT ON FUNCTION cauce.encrypted_text_send(cauce.encrypted_text) IS 'binary output: as encrypted_text_out';
COMMENT ON FUNCTION cauce.no_statistics(internal) IS 'ANALYZE collects nothing about sealed columns';

CREATE FUNCTION cauce.encrypted_text(text) RETURNS cauce.encrypted_text
	AS 'MODULE_PATHNAME', 'cauce_encrypted_text_from_text' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION cauce.encrypted_text(text) IS 'seals text; the cast from text';
CREATE FUNCTION cauce.open_text(cauce.encrypted_text) RETURNS text
	AS 'MODULE_PATHNAME', 'cauce_encrypted_text_to_text' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.open_text(cauce.encrypted_text) IS
	'opens a sealed value; the cast to text. Raises 28000 without identity, 42501 for another account''s value, XX001 when damaged';

-- Category S makes operators with an untyped literal beside a sealed column resolve to text's.
CREATE CAST (text AS cauce.encrypted_text) WITH FUNCTION cauce.encrypted_text(text) AS ASSIGNMENT;
CREATE CAST (cauce.encrypted_text AS text) WITH FUNCTION cauce.open_text(cauce.encrypted_text) AS IMPLICIT;
CREATE CAST (cauce.encrypted_text AS varchar) WITH FUNCTION cauce.open_text(cauce.encrypted_text) AS ASSIGNMENT;
CREATE CAST (cauce.encrypted_text AS bpchar) WITH FUNCTION cauce.open_text(cauce.encrypted_text) AS ASSIGNMENT;
CREATE CAST (varchar AS cauce.encrypted_text) WITH INOUT AS ASSIGNMENT;

CREATE TYPE cauce.encrypted_jsonb;

CREATE FUNCTION cauce.encrypted_jsonb_in(cstring) RETURNS cauce.encrypted_jsonb
	AS 'MODULE_PATHNAME', 'cauce_encrypted_jsonb_in' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION cauce.encrypted_jsonb_out(cauce.encrypted_jsonb) RETURNS cstring
	AS 'MODULE_PATHNAME', 'cauce_encrypted_jsonb_out' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION cauce.encrypted_jsonb_recv(internal) RETURNS cauce.encrypted_jsonb
	AS 'MODULE_PATHNAME', 'cauce_encrypted_jsonb_recv' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION cauce.encrypted_jsonb_send(cauce.encrypted_jsonb) RETURNS bytea
	AS 'MODULE_PATHNAME', 'cauce_encrypted_jsonb_send' LANGUAGE C STABLE STRICT PARALLEL SAFE;

CREATE TYPE cauce.encrypted_jsonb (
	INPUT = cauce.encrypted_jsonb_in,
	OUTPUT = cauce.encrypted_jsonb_out,
	RECEIVE = cauce.encrypted_jsonb_recv,
	SEND = cauce.encrypted_jsonb_send,
	ANALYZE = cauce.no_statistics,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = int4,
	STORAGE = external
);
COMMENT ON TYPE cauce.encrypted_jsonb IS
	'jsonb that is sealed (AES-256-GCM) wherever it is stored; opens for the signed identity it belongs to, shows cauce1:… to anybody else';
COMMENT ON FUNCTION cauce.encrypted_jsonb_in(cstring) IS
	'seals JSON under the account key of the identity in force, or the inbox key; 22P02 as jsonb''s when it is none';
COMMENT ON FUNCTION cauce.encrypted_jsonb_out(cauce.encrypted_jsonb) IS
	'the JSON text for those who may have it, else the sealed form; XX001 when damaged';
COMMENT ON FUNCTION cauce.encrypted_jsonb_recv(internal) IS
	'binary input: as jsonb''s, a byte 1 and the JSON text in the client''s encoding';
COMMENT ON FUNCTION cauce.encrypted_jsonb_send(cauce.encrypted_jsonb) IS
	'binary output: a byte 1 and what encrypted_jsonb_out gives';

CREATE FUNCTION cauce.encrypted_jsonb(jsonb) RETURNS cauce.encrypted_jsonb
	AS 'MODULE_PATHNAME', 'cauce_encrypted_jsonb_from_jsonb' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION cauce.encrypted_jsonb(jsonb) IS 'seals jsonb; the cast from jsonb';
CREATE FUNCTION cauce.encrypted_jsonb(json) RETURNS cauce.encrypted_jsonb
	AS 'MODULE_PATHNAME', 'cauce_encrypted_jsonb_from_json' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION cauce.encrypted_jsonb(json) IS 'seals json, as jsonb keeps it; the cast from json';
CREATE FUNCTION cauce.open_jsonb(cauce.encrypted_jsonb) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'cauce_encrypted_jsonb_to_jsonb' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.open_jsonb(cauce.encrypted_jsonb) IS
	'opens a sealed value; the cast to jsonb. Raises 28000 without identity, 42501 for another account''s value, XX001 when damaged';
CREATE FUNCTION cauce.open_json(cauce.encrypted_jsonb) RETURNS json
	AS 'MODULE_PATHNAME', 'cauce_encrypted_jsonb_to_json' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.open_json(cauce.encrypted_jsonb) IS 'opens a sealed value; the cast to json. Raises as open_jsonb';
CREATE FUNCTION cauce.open_text(cauce.encrypted_jsonb) RETURNS text
	AS 'MODULE_PATHNAME', 'cauce_encrypted_jsonb_to_text' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.open_text(cauce.encrypted_jsonb) IS 'opens a sealed value; the cast to text. Raises as open_jsonb';

CREATE CAST (jsonb AS cauce.encrypted_jsonb) WITH FUNCTION cauce.encrypted_jsonb(jsonb) AS ASSIGNMENT;
CREATE CAST (json AS cauce.encrypted_jsonb) WITH FUNCTION cauce.encrypted_jsonb(json) AS ASSIGNMENT;
CREATE CAST (cauce.encrypted_jsonb AS jsonb) WITH FUNCTION cauce.open_jsonb(cauce.encrypted_jsonb) AS IMPLICIT;
CREATE CAST (cauce.encrypted_jsonb AS json) WITH FUNCTION cauce.open_json(cauce.encrypted_jsonb) AS ASSIGNMENT;
-- Without these PostgreSQL would cast through the output function, and give the sealed form where an error is due.
CREATE CAST (cauce.encrypted_jsonb AS text) WITH FUNCTION cauce.open_text(cauce.encrypted_jsonb) AS ASSIGNMENT;
CREATE CAST (cauce.encrypted_jsonb AS varchar) WITH FUNCTION cauce.open_text(cauce.encrypted_jsonb) AS ASSIGNMENT;
CREATE CAST (cauce.encrypted_jsonb AS bpchar) WITH FUNCTION cauce.open_text(cauce.encrypted_jsonb) AS ASSIGNMENT;

CREATE TYPE cauce.encrypted_bytea;

CREATE FUNCTION cauce.encrypted_bytea_in(cstring) RETURNS cauce.encrypted_bytea
	AS 'MODULE_PATHNAME', 'cauce_encrypted_bytea_in' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION cauce.encrypted_bytea_out(cauce.encrypted_bytea) RETURNS cstring
	AS 'MODULE_PATHNAME', 'cauce_encrypted_bytea_out' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION cauce.encrypted_bytea_recv(internal) RETURNS cauce.encrypted_bytea
	AS 'MODULE_PATHNAME', 'cauce_encrypted_bytea_recv' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION cauce.encrypted_bytea_send(cauce.encrypted_bytea) RETURNS bytea
	AS 'MODULE_PATHNAME', 'cauce_encrypted_bytea_send' LANGUAGE C STABLE STRICT PARALLEL SAFE;

CREATE TYPE cauce.encrypted_bytea (
	INPUT = cauce.encrypted_bytea_in,
	OUTPUT = cauce.encrypted_bytea_out,
	RECEIVE = cauce.encrypted_bytea_recv,
	SEND = cauce.encrypted_bytea_send,
	ANALYZE = cauce.no_statistics,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = int4,
	STORAGE = external
);
COMMENT ON TYPE cauce.encrypted_bytea IS
	'bytes that are sealed (AES-256-GCM) wherever they are stored; open for the signed identity they belong to, show cauce1:… to anybody else';
COMMENT ON FUNCTION cauce.encrypted_bytea_in(cstring) IS
	'seals bytes, written as bytea''s, under the account key of the identity in force, or the inbox key';
COMMENT ON FUNCTION cauce.encrypted_bytea_out(cauce.encrypted_bytea) IS
	'what bytea shows for those who may have it, else the sealed form; XX001 when damaged';
COMMENT ON FUNCTION cauce.encrypted_bytea_recv(internal) IS 'binary input: the bytes';
COMMENT ON FUNCTION cauce.encrypted_bytea_send(cauce.encrypted_bytea) IS
	'binary output: the bytes for those who may have them, else the sealed form';

CREATE FUNCTION cauce.encrypted_bytea(bytea) RETURNS cauce.encrypted_bytea
	AS 'MODULE_PATHNAME', 'cauce_encrypted_bytea_from_bytea' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION cauce.encrypted_bytea(bytea) IS 'seals bytes; the cast from bytea';
CREATE FUNCTION cauce.open_bytea(cauce.encrypted_bytea) RETURNS bytea
	AS 'MODULE_PATHNAME', 'cauce_encrypted_bytea_to_bytea' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.open_bytea(cauce.encrypted_bytea) IS
	'opens a sealed value; the cast to bytea. Raises 28000 without identity, 42501 for another account''s value, XX001 when damaged';
CREATE FUNCTION cauce.open_text(cauce.encrypted_bytea) RETURNS text
	AS 'MODULE_PATHNAME', 'cauce_encrypted_bytea_to_text' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.open_text(cauce.encrypted_bytea) IS
	'opens a sealed value and shows it as bytea is shown; the cast to text. Raises as open_bytea';

CREATE CAST (bytea AS cauce.encrypted_bytea) WITH FUNCTION cauce.encrypted_bytea(bytea) AS ASSIGNMENT;
CREATE CAST (cauce.encrypted_bytea AS bytea) WITH FUNCTION cauce.open_bytea(cauce.encrypted_bytea) AS IMPLICIT;
CREATE CAST (cauce.encrypted_bytea AS text) WITH FUNCTION cauce.open_text(cauce.encrypted_bytea) AS ASSIGNMENT;
CREATE CAST (cauce.encrypted_bytea AS varchar) WITH FUNCTION cauce.open_text(cauce.encrypted_bytea) AS ASSIGNMENT;
CREATE CAST (cauce.encrypted_bytea AS bpchar) WITH FUNCTION cauce.open_text(cauce.encrypted_bytea) AS ASSIGNMENT;

REVOKE ALL ON TYPE cauce.encrypted_text, cauce.encrypted_jsonb, cauce.encrypted_bytea,
	cauce.retention_action, cauce.account_role FROM PUBLIC;
GRANT USAGE ON TYPE cauce.encrypted_text, cauce.encrypted_jsonb, cauce.encrypted_bytea,
	cauce.retention_action, cauce.account_role
	TO cauce_app, cauce_stream, cauce_operator, cauce_auditor;

--
-- Identity. Who is asking, from the verified token in cauce.token.
--

CREATE FUNCTION cauce.account_id() RETURNS uuid
	AS 'MODULE_PATHNAME', 'cauce_account_id' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.account_id() IS
	'the account that the token in force names; NULL without identity and for a stream token. Raises 28000 when the token has expired or its subject is unknown';
CREATE FUNCTION cauce.organization_id() RETURNS uuid
	AS 'MODULE_PATHNAME', 'cauce_organization_id' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.organization_id() IS 'the caller''s organization, or NULL';
CREATE FUNCTION cauce.is_admin() RETURNS boolean
	AS 'MODULE_PATHNAME', 'cauce_is_admin' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.is_admin() IS 'whether the caller is an admin of an organization with plan business';
CREATE FUNCTION cauce.token_scope() RETURNS text
	AS 'MODULE_PATHNAME', 'cauce_token_scope' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.token_scope() IS 'app, stream, or NULL without identity';
CREATE FUNCTION cauce.appending_account_id() RETURNS uuid
	AS 'MODULE_PATHNAME', 'cauce_appending_account_id' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.appending_account_id() IS
	'the account that appended rows belong to: that of the token, whatever its scope';
CREATE FUNCTION cauce.appending_session_id() RETURNS uuid
	AS 'MODULE_PATHNAME', 'cauce_appending_session_id' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.appending_session_id() IS 'the session of a stream token while that session is live, else NULL';
CREATE FUNCTION cauce.admin_organization_id() RETURNS uuid
	AS 'MODULE_PATHNAME', 'cauce_admin_organization_id' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.admin_organization_id() IS 'the organization whose sessions the caller may list as its admin, or NULL';
CREATE FUNCTION cauce.content_organization_id() RETURNS uuid
	AS 'MODULE_PATHNAME', 'cauce_content_organization_id' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.content_organization_id() IS 'the organization whose content the caller may read as its admin, or NULL';

--
-- Tables. The tenant comes first in every key.
--

CREATE TABLE cauce.organization (
	id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	name text NOT NULL CHECK (name <> ''),
	plan text NOT NULL DEFAULT 'business' CHECK (plan IN ('individual', 'business')),
	admin_access text NOT NULL DEFAULT 'sessions' CHECK (admin_access IN ('sessions', 'content')),
	retention_days integer CHECK (retention_days BETWEEN 1 AND 3650),
	retention_action cauce.retention_action,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE cauce.organization IS 'who employs professionals, and what its admins may see';

CREATE TABLE cauce.account (
	id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	organization_id uuid REFERENCES cauce.organization (id),
	subject text NOT NULL UNIQUE CHECK (subject <> '' AND pg_catalog.octet_length(subject) < 256),
	role cauce.account_role NOT NULL DEFAULT 'professional',
	display_name cauce.encrypted_text,
	email cauce.encrypted_text,
	login_role name UNIQUE,
	retention_days integer CHECK (retention_days BETWEEN 1 AND 3650),
	retention_action cauce.retention_action,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX account_organization_id ON cauce.account (organization_id);
COMMENT ON TABLE cauce.account IS 'a professional or an admin; subject is the token''s sub';

CREATE TABLE cauce.session (
	account_id uuid NOT NULL DEFAULT cauce.account_id() REFERENCES cauce.account (id),
	id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	organization_id uuid DEFAULT cauce.organization_id() REFERENCES cauce.organization (id),
	title cauce.encrypted_text,
	client cauce.encrypted_text,
	language text,
	status text NOT NULL DEFAULT 'live' CHECK (status IN ('live', 'ended')),
	started_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	ended_at timestamptz,
	retention_days integer CHECK (retention_days BETWEEN 1 AND 3650),
	retain_until timestamptz NOT NULL,
	legal_hold boolean NOT NULL DEFAULT false,
	PRIMARY KEY (account_id, id)
);
CREATE INDEX session_organization_id ON cauce.session (organization_id);
CREATE INDEX session_retain_until ON cauce.session (retain_until);
COMMENT ON TABLE cauce.session IS 'one recorded conversation; DELETE erases it, with certificate';
COMMENT ON COLUMN cauce.session.retain_until IS
	'started_at + retention in days of 24 hours; kept by trigger, set it to NULL to have it computed anew';

CREATE TABLE cauce.transcript_segment (
	account_id uuid NOT NULL DEFAULT cauce.appending_account_id(),
	session_id uuid NOT NULL,
	channel integer NOT NULL DEFAULT 0 CHECK (channel >= 0),
	seq bigint NOT NULL CHECK (seq >= 0),
	speaker text,
	start_ms bigint NOT NULL CHECK (start_ms >= 0),
	end_ms bigint NOT NULL CHECK (end_ms >= start_ms),
	confidence real CHECK (confidence BETWEEN 0 AND 1),
	body cauce.encrypted_text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (account_id, session_id, channel, seq),
	FOREIGN KEY (account_id, session_id) REFERENCES cauce.session (account_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE cauce.transcript_segment IS 'a piece of transcript; times are milliseconds since the stream began';

CREATE TABLE cauce.report (
	account_id uuid NOT NULL DEFAULT cauce.account_id(),
	session_id uuid NOT NULL,
	id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	kind text NOT NULL DEFAULT 'summary',
	body cauce.encrypted_text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (account_id, session_id, id),
	FOREIGN KEY (account_id, session_id) REFERENCES cauce.session (account_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE cauce.report IS 'what was written about a session';

CREATE TABLE cauce.alert (
	account_id uuid NOT NULL DEFAULT cauce.appending_account_id(),
	session_id uuid NOT NULL,
	id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	kind text NOT NULL,
	severity text NOT NULL DEFAULT 'info',
	at_ms bigint CHECK (at_ms >= 0),
	detail cauce.encrypted_text,
	raised_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (account_id, session_id, id),
	FOREIGN KEY (account_id, session_id) REFERENCES cauce.session (account_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE cauce.alert IS 'what the software noticed in a session';

CREATE TABLE cauce.archived_session (
	account_id uuid NOT NULL REFERENCES cauce.account (id),
	id uuid NOT NULL,
	organization_id uuid REFERENCES cauce.organization (id),
	started_at timestamptz NOT NULL,
	archived_at timestamptz NOT NULL,
	delete_after timestamptz NOT NULL,
	bundle bytea NOT NULL,
	PRIMARY KEY (account_id, id)
);
ALTER TABLE cauce.archived_session ALTER COLUMN bundle SET STORAGE EXTERNAL;
CREATE INDEX archived_session_organization_id ON cauce.archived_session (organization_id);
CREATE INDEX archived_session_delete_after ON cauce.archived_session (delete_after);
COMMENT ON TABLE cauce.archived_session IS 'sessions moved out of the live tables, each one sealed bundle; restore_session() brings one back, DELETE erases it';

CREATE TABLE cauce.data_key (
	id uuid NOT NULL,
	account_id uuid NOT NULL,
	organization_id uuid,
	session_id uuid,
	epoch date NOT NULL,
	generation integer NOT NULL CHECK (generation BETWEEN 1 AND 65535),
	wrapped bytea NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	superseded_at timestamptz,
	resealed_at timestamptz,
	PRIMARY KEY (account_id, id, generation),
	UNIQUE NULLS NOT DISTINCT (account_id, session_id, generation)
);
CREATE INDEX data_key_id ON cauce.data_key (id);
CREATE INDEX data_key_epoch ON cauce.data_key (epoch);
CREATE INDEX data_key_created_at ON cauce.data_key (created_at) WHERE superseded_at IS NULL;
CREATE INDEX data_key_superseded_at ON cauce.data_key (superseded_at) WHERE superseded_at IS NOT NULL;
COMMENT ON TABLE cauce.data_key IS
	'wrapped keys: one per session, one per account (session_id NULL), one inbox (account_id all zero); deleting a row destroys what it sealed';

COMMENT ON COLUMN cauce.data_key.superseded_at IS 'when rotation gave the key its next generation; new content lies under that one';
COMMENT ON COLUMN cauce.data_key.resealed_at IS 'when the last content was sealed anew under the next generation';

CREATE TABLE cauce.key_rotation (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account_id uuid,
	made_before timestamptz NOT NULL,
	requested_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	requested_by name NOT NULL DEFAULT session_user,
	keys bigint NOT NULL,
	finished_at timestamptz
);
COMMENT ON TABLE cauce.key_rotation IS 'rotations of data keys that were asked for; rotation_status has their progress';

CREATE TABLE cauce.erasure_certificate (
	id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	account_id uuid NOT NULL,
	subject text NOT NULL CHECK (subject IN ('session', 'report', 'transcript', 'archive', 'account')),
	reason text NOT NULL,
	counts jsonb NOT NULL,
	erased_at timestamptz NOT NULL,
	previous_digest bytea,
	jws text NOT NULL,
	PRIMARY KEY (account_id, id),
	UNIQUE (account_id, erased_at),
	UNIQUE NULLS NOT DISTINCT (account_id, previous_digest)
);
CREATE INDEX erasure_certificate_id ON cauce.erasure_certificate (id);
COMMENT ON TABLE cauce.erasure_certificate IS 'signed proof of every erasure, chained per account by the SHA-256 of the previous jws';

CREATE TABLE cauce.audit_log (
	id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	at timestamptz NOT NULL,
	actor text NOT NULL,
	role text NOT NULL,
	action text NOT NULL,
	account_id uuid NOT NULL,
	session_id uuid,
	reason text,
	previous_digest bytea,
	digest bytea NOT NULL,
	PRIMARY KEY (account_id, id),
	UNIQUE (account_id, at),
	UNIQUE NULLS NOT DISTINCT (account_id, previous_digest)
);
COMMENT ON TABLE cauce.audit_log IS 'who opened whose content, chained per account';

CREATE TABLE cauce.retention_run (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	started_at timestamptz NOT NULL,
	finished_at timestamptz,
	archived integer NOT NULL DEFAULT 0,
	deleted integer NOT NULL DEFAULT 0,
	failed integer NOT NULL DEFAULT 0,
	message text
);
CREATE INDEX retention_run_started_at ON cauce.retention_run (started_at);
COMMENT ON TABLE cauce.retention_run IS 'history of retention runs; counts only, prunes itself';

CREATE TABLE cauce.retention_failure (
	account_id uuid NOT NULL,
	session_id uuid NOT NULL,
	sqlstate text NOT NULL,
	attempts integer NOT NULL,
	failed_at timestamptz NOT NULL,
	retry_at timestamptz NOT NULL,
	PRIMARY KEY (account_id, session_id)
);
COMMENT ON TABLE cauce.retention_failure IS 'sessions that retention could not process, and when it tries again';

CREATE TABLE cauce.alert_rule (
	id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	organization_id uuid REFERENCES cauce.organization (id),
	account_id uuid REFERENCES cauce.account (id),
	pattern text NOT NULL CHECK (pattern <> ''),
	kind text NOT NULL,
	severity text NOT NULL DEFAULT 'info',
	CHECK ((organization_id IS NULL) <> (account_id IS NULL))
);
CREATE INDEX alert_rule_organization_id ON cauce.alert_rule (organization_id);
CREATE INDEX alert_rule_account_id ON cauce.alert_rule (account_id);
COMMENT ON TABLE cauce.alert_rule IS 'phrases that raise an alert, kept by an organization or an account';

-- What pg_dump carries beside CREATE EXTENSION.
DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['organization', 'account', 'data_key', 'key_rotation', 'key_rotation_id_seq', 'session', 'transcript_segment', 'report',
		'alert', 'archived_session', 'erasure_certificate', 'audit_log', 'retention_run', 'retention_run_id_seq',
		'retention_failure', 'alert_rule'] LOOP
		PERFORM pg_catalog.pg_extension_config_dump(('cauce.' || name)::pg_catalog.regclass, '');
	END LOOP;
END
$$;

--
-- Triggers
--

CREATE FUNCTION cauce.seal_row() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_seal_row' LANGUAGE C;
COMMENT ON FUNCTION cauce.seal_row() IS
	'BEFORE INSERT OR UPDATE row trigger: seals every encrypted column under the row''s key, bound to table, primary key and column; argument: the column that names the session';
CREATE FUNCTION cauce.keep_session() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_keep_session' LANGUAGE C;
COMMENT ON FUNCTION cauce.keep_session() IS 'trigger: keeps organization, retain_until, ended_at and the session''s key';
CREATE FUNCTION cauce.hold_session() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_hold_session' LANGUAGE C;
COMMENT ON FUNCTION cauce.hold_session() IS 'trigger: raises 55006 when a session under legal hold is deleted or its profile rewritten';
CREATE FUNCTION cauce.erase_session() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_erase_session' LANGUAGE C;
COMMENT ON FUNCTION cauce.erase_session() IS 'trigger: destroys the key of a deleted session, removes its rows and signs a certificate';
CREATE FUNCTION cauce.erase_archive() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_erase_archive' LANGUAGE C;
COMMENT ON FUNCTION cauce.erase_archive() IS 'trigger: destroys the key of a deleted archive and signs a certificate';
CREATE FUNCTION cauce.certify_rows() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_certify_rows' LANGUAGE C;
COMMENT ON FUNCTION cauce.certify_rows() IS 'trigger: signs a certificate for deleted reports or segments';
CREATE FUNCTION cauce.data_key_destroyed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_data_key_destroyed' LANGUAGE C;
COMMENT ON FUNCTION cauce.data_key_destroyed() IS 'trigger: makes every backend and standby forget its cached keys';
CREATE FUNCTION cauce.account_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_account_changed' LANGUAGE C;
COMMENT ON FUNCTION cauce.account_changed() IS 'trigger: makes every backend and standby look accounts up anew';
CREATE FUNCTION cauce.append_only() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_append_only' LANGUAGE C;
COMMENT ON FUNCTION cauce.append_only() IS 'trigger: raises 42501 on UPDATE, DELETE and TRUNCATE';

CREATE TRIGGER cauce_seal BEFORE INSERT OR UPDATE ON cauce.account
	FOR EACH ROW EXECUTE FUNCTION cauce.seal_row();
CREATE TRIGGER cauce_1_keep BEFORE INSERT OR UPDATE ON cauce.session
	FOR EACH ROW EXECUTE FUNCTION cauce.keep_session();
CREATE TRIGGER cauce_2_seal BEFORE INSERT OR UPDATE ON cauce.session
	FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('id');
CREATE TRIGGER cauce_seal BEFORE INSERT OR UPDATE ON cauce.transcript_segment
	FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('session_id');
CREATE TRIGGER cauce_seal BEFORE INSERT OR UPDATE ON cauce.report
	FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('session_id');
CREATE TRIGGER cauce_seal BEFORE INSERT OR UPDATE ON cauce.alert
	FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('session_id');

CREATE TRIGGER cauce_hold BEFORE DELETE ON cauce.session
	FOR EACH ROW EXECUTE FUNCTION cauce.hold_session();
-- Triggers fire in the order of their names: this one before RI_ConstraintTrigger_….
CREATE TRIGGER "Erase" AFTER DELETE ON cauce.session
	FOR EACH ROW EXECUTE FUNCTION cauce.erase_session();
CREATE TRIGGER cauce_erase AFTER DELETE ON cauce.archived_session
	FOR EACH ROW EXECUTE FUNCTION cauce.erase_archive();
CREATE TRIGGER cauce_certify AFTER DELETE ON cauce.report
	REFERENCING OLD TABLE AS erased
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.certify_rows('report', 'reports');
CREATE TRIGGER cauce_certify AFTER DELETE ON cauce.transcript_segment
	REFERENCING OLD TABLE AS erased
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.certify_rows('transcript', 'segments');
CREATE FUNCTION cauce.hold_rows() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_hold_rows' LANGUAGE C;
COMMENT ON FUNCTION cauce.hold_rows() IS 'trigger: raises 55006 when content of a session under legal hold is deleted or rewritten';
CREATE TRIGGER cauce_hold_delete AFTER DELETE ON cauce.transcript_segment
	REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION cauce.hold_rows();
CREATE TRIGGER cauce_hold_update AFTER UPDATE ON cauce.transcript_segment
	REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION cauce.hold_rows();
CREATE TRIGGER cauce_hold_delete AFTER DELETE ON cauce.report
	REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION cauce.hold_rows();
CREATE TRIGGER cauce_hold_update AFTER UPDATE ON cauce.report
	REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION cauce.hold_rows();
CREATE TRIGGER cauce_hold_delete AFTER DELETE ON cauce.alert
	REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION cauce.hold_rows();
CREATE TRIGGER cauce_hold_update AFTER UPDATE ON cauce.alert
	REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION cauce.hold_rows();
CREATE TRIGGER cauce_hold_update BEFORE UPDATE OF title, client ON cauce.session
	FOR EACH ROW WHEN (OLD.legal_hold) EXECUTE FUNCTION cauce.hold_session();

-- ALWAYS and by row, so that they fire where a key's row goes by logical replication, too.
CREATE TRIGGER cauce_destroyed AFTER DELETE ON cauce.data_key
	FOR EACH ROW EXECUTE FUNCTION cauce.data_key_destroyed();
CREATE TRIGGER cauce_truncated AFTER TRUNCATE ON cauce.data_key
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.data_key_destroyed();
CREATE TRIGGER cauce_superseded AFTER UPDATE OF superseded_at ON cauce.data_key
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.data_key_destroyed();
CREATE TRIGGER cauce_moved AFTER UPDATE ON cauce.data_key
	FOR EACH ROW WHEN (OLD.organization_id IS DISTINCT FROM NEW.organization_id)
	EXECUTE FUNCTION cauce.data_key_destroyed();
ALTER TABLE cauce.data_key
	ENABLE ALWAYS TRIGGER cauce_destroyed,
	ENABLE ALWAYS TRIGGER cauce_truncated,
	ENABLE ALWAYS TRIGGER cauce_moved;

-- Who a subject is, is remembered by every backend. A logical replication worker fires row triggers only.
CREATE TRIGGER cauce_changed AFTER UPDATE ON cauce.account
	FOR EACH ROW WHEN ((OLD.id, OLD.subject, OLD.role, OLD.organization_id)
		IS DISTINCT FROM (NEW.id, NEW.subject, NEW.role, NEW.organization_id))
	EXECUTE FUNCTION cauce.account_changed();
CREATE TRIGGER cauce_gone AFTER DELETE ON cauce.account
	FOR EACH ROW EXECUTE FUNCTION cauce.account_changed();
CREATE TRIGGER cauce_changed AFTER UPDATE ON cauce.organization
	FOR EACH ROW WHEN ((OLD.id, OLD.plan, OLD.admin_access) IS DISTINCT FROM (NEW.id, NEW.plan, NEW.admin_access))
	EXECUTE FUNCTION cauce.account_changed();
CREATE TRIGGER cauce_gone AFTER DELETE ON cauce.organization
	FOR EACH ROW EXECUTE FUNCTION cauce.account_changed();
ALTER TABLE cauce.account ENABLE ALWAYS TRIGGER cauce_changed, ENABLE ALWAYS TRIGGER cauce_gone;
ALTER TABLE cauce.organization ENABLE ALWAYS TRIGGER cauce_changed, ENABLE ALWAYS TRIGGER cauce_gone;

CREATE TRIGGER cauce_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cauce.erasure_certificate
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.append_only();
CREATE TRIGGER cauce_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cauce.audit_log
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.append_only();

CREATE FUNCTION cauce.touch_report() RETURNS trigger LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	NEW.updated_at := now();
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION cauce.touch_report() IS 'trigger: keeps updated_at';
CREATE TRIGGER cauce_touch BEFORE UPDATE ON cauce.report
	FOR EACH ROW EXECUTE FUNCTION cauce.touch_report();

CREATE FUNCTION cauce.refuse_truncate() RETURNS trigger LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION 'TRUNCATE would remove sessions without erasing them'
		USING ERRCODE = '0A000', HINT = 'DELETE destroys their keys and signs certificates.';
END
$$;
COMMENT ON FUNCTION cauce.refuse_truncate() IS 'trigger: content is erased by DELETE only';
CREATE TRIGGER cauce_truncate BEFORE TRUNCATE ON cauce.session
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.refuse_truncate();
CREATE TRIGGER cauce_truncate BEFORE TRUNCATE ON cauce.archived_session
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.refuse_truncate();
CREATE TRIGGER cauce_truncate BEFORE TRUNCATE ON cauce.transcript_segment
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.refuse_truncate();
CREATE TRIGGER cauce_truncate BEFORE TRUNCATE ON cauce.report
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.refuse_truncate();
CREATE TRIGGER cauce_truncate BEFORE TRUNCATE ON cauce.alert
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.refuse_truncate();

--
-- Accounts and settings
--

CREATE FUNCTION cauce.create_organization(name text, plan text DEFAULT 'business') RETURNS uuid
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO cauce.organization (name, plan)
	VALUES (create_organization.name, create_organization.plan)
	RETURNING id;
END;
COMMENT ON FUNCTION cauce.create_organization(text, text) IS 'a new organization''s id; plan is individual or business';

CREATE FUNCTION cauce.make_account_key(id uuid) RETURNS uuid
	AS 'MODULE_PATHNAME', 'cauce_make_account_key' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION cauce.make_account_key(uuid) IS 'makes an account''s key; cauce''s own';

CREATE FUNCTION cauce.create_account(
	subject text, organization_id uuid DEFAULT NULL, role cauce.account_role DEFAULT 'professional',
	display_name text DEFAULT NULL, email text DEFAULT NULL) RETURNS uuid
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
	WITH made AS (
		INSERT INTO cauce.account (subject, organization_id, role, display_name, email)
		VALUES (create_account.subject, create_account.organization_id, create_account.role,
				create_account.display_name, create_account.email)
		RETURNING id)
	SELECT cauce.make_account_key(id) FROM made
$$;
COMMENT ON FUNCTION cauce.create_account(text, uuid, cauce.account_role, text, text) IS
	'a new account''s id; subject is the sub of its tokens, display_name and email are sealed under its own key';

CREATE FUNCTION cauce.check_retention_days(days integer) RETURNS void
	LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF days NOT BETWEEN 1 AND 3650 THEN
		RAISE EXCEPTION 'retention must be between 1 and 3650 days'
			USING ERRCODE = '22023', DETAIL = format('It is %s.', days), HINT = 'NULL leaves the choice to the next level.';
	END IF;
END
$$;
COMMENT ON FUNCTION cauce.check_retention_days(integer) IS 'raises 22023 unless 1 to 3650 or NULL; cauce''s own';

CREATE FUNCTION cauce.set_retention(days integer, action cauce.retention_action DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	me CONSTANT uuid := cauce.account_id();
BEGIN
	IF me IS NULL THEN
		RAISE EXCEPTION 'no account is asking'
			USING ERRCODE = '28000', DETAIL = 'cauce.token is not set.', HINT = 'SELECT set_config(''cauce.token'', $1, true) with your token.';
	END IF;
	PERFORM cauce.check_retention_days(days);
	UPDATE cauce.account SET retention_days = days, retention_action = action WHERE id = me;
	UPDATE cauce.session SET retain_until = NULL WHERE account_id = me AND retention_days IS NULL;
END
$$;
COMMENT ON FUNCTION cauce.set_retention(integer, cauce.retention_action) IS
	'how long my sessions are kept (1 to 3650 days of 24 hours, NULL for the organization''s choice) and what happens then; a shorter setting waits cauce.retention_grace';

CREATE FUNCTION cauce.set_organization_retention(organization_id uuid, days integer, action cauce.retention_action DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted CONSTANT uuid := organization_id;
BEGIN
	IF wanted IS NULL OR cauce.admin_organization_id() IS DISTINCT FROM wanted THEN
		RAISE EXCEPTION 'permission denied for this organization'
			USING ERRCODE = '42501', HINT = 'Only an admin of the organization chooses its retention.';
	END IF;
	PERFORM cauce.check_retention_days(days);
	UPDATE cauce.organization o SET retention_days = days, retention_action = action WHERE o.id = wanted;
	UPDATE cauce.session s SET retain_until = NULL
	FROM cauce.account a
	WHERE a.organization_id = wanted AND s.account_id = a.id
		AND s.retention_days IS NULL AND a.retention_days IS NULL;
END
$$;
COMMENT ON FUNCTION cauce.set_organization_retention(uuid, integer, cauce.retention_action) IS
	'what holds for members who chose nothing themselves; for an admin of the organization';

CREATE FUNCTION cauce.stream_token(session_id uuid, ttl interval DEFAULT '4 hours') RETURNS text
	AS 'MODULE_PATHNAME', 'cauce_stream_token' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION cauce.stream_token(uuid, interval) IS
	'a signed token that can only append segments and alerts to one live session of mine, for at most a day';

--
-- Audit
--

CREATE FUNCTION cauce.append_audit(
	account_id uuid, session_id uuid, actor text, role text, action text, reason text,
	previous_digest bytea, previous_at timestamptz) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	entry cauce.audit_log;
BEGIN
	entry := (gen_random_uuid(), greatest(clock_timestamp(), previous_at + interval '1 microsecond'),
		actor, role, action, account_id, session_id, reason, previous_digest, NULL);
	entry.digest := cauce.audit_digest(entry);
	INSERT INTO cauce.audit_log SELECT entry.*;
END
$$;
COMMENT ON FUNCTION cauce.append_audit(uuid, uuid, text, text, text, text, bytea, timestamptz) IS
	'adds an entry to the account''s chain, behind the one given; cauce''s own';

CREATE FUNCTION cauce.audit_digest(entry cauce.audit_log) RETURNS bytea
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
BEGIN ATOMIC
	SELECT sha256(convert_to(jsonb_build_array(entry.id, entry.at, entry.actor, entry.role, entry.action,
		entry.account_id, entry.session_id, entry.reason, encode(entry.previous_digest, 'hex'))::text, 'UTF8'));
END;
COMMENT ON FUNCTION cauce.audit_digest(cauce.audit_log) IS
	'SHA-256 of the entry''s fields as a JSON array, the previous entry''s digest among them';

--
-- Erasure certificates
--

CREATE FUNCTION cauce.open_certificate(jws text) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'cauce_open_certificate' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.open_certificate(text) IS 'the payload of a certificate that this keyring signed, else NULL';
CREATE FUNCTION cauce.certificate_jwks() RETURNS jsonb
	AS 'MODULE_PATHNAME', 'cauce_certificate_jwks' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.certificate_jwks() IS 'the JSON Web Key Set (RFC 7517) that verifies certificates offline';

CREATE FUNCTION cauce.verify_certificate(id uuid) RETURNS boolean
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c cauce.erasure_certificate;
	payload jsonb;
BEGIN
	SELECT * INTO c FROM cauce.erasure_certificate e WHERE e.id = verify_certificate.id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no such certificate'
			USING ERRCODE = 'P0002', HINT = 'Those that you may see are in cauce.erasure_certificate.';
	END IF;
	payload := cauce.open_certificate(c.jws);
	RETURN payload IS NOT NULL
		AND payload->>'jti' = c.id::text
		AND payload->>'subject' = c.subject
		AND payload->>'reason' = c.reason
		AND payload->'counts' = c.counts
		AND (payload->>'erased_at')::timestamptz = c.erased_at
		AND payload->>'previous_digest' IS NOT DISTINCT FROM encode(c.previous_digest, 'hex')
		AND NOT EXISTS (
			SELECT 1
			FROM (SELECT e.previous_digest,
						 sha256(convert_to(lag(e.jws) OVER (ORDER BY e.erased_at), 'UTF8')) AS expected
				  FROM cauce.erasure_certificate e
				  WHERE e.account_id = c.account_id AND e.erased_at <= c.erased_at) chain
			WHERE chain.previous_digest IS DISTINCT FROM chain.expected);
END
$$;
COMMENT ON FUNCTION cauce.verify_certificate(uuid) IS
	'whether signature, row and the account''s chain up to this certificate agree; raises P0002 for one that you cannot see';

--
-- Retention
--

CREATE FUNCTION cauce.archive_session(id uuid) RETURNS void
	AS 'MODULE_PATHNAME', 'cauce_archive_session' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION cauce.archive_session(uuid) IS 'archives one of my sessions now; 42501 when I have no such session';
CREATE FUNCTION cauce.restore_session(id uuid) RETURNS void
	AS 'MODULE_PATHNAME', 'cauce_restore_session' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION cauce.restore_session(uuid) IS
	'brings one of my archived sessions back as it was; where its retention had ended, retention_days is raised so that it ends as many days from today as a new session''s, though at most 3650 days after it began';

CREATE FUNCTION cauce.perform_retention(max_sessions integer) RETURNS bigint
	AS 'MODULE_PATHNAME', 'cauce_perform_retention' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION cauce.perform_retention(integer) IS 'one retention run; the id of its row; cauce''s own';

CREATE FUNCTION cauce.run_retention(max_sessions integer DEFAULT 1000) RETURNS cauce.retention_run
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	run CONSTANT bigint := cauce.perform_retention(max_sessions);
	result cauce.retention_run;
BEGIN
	SELECT * INTO result FROM cauce.retention_run r WHERE r.id = run;
	RETURN result;
END
$$;
COMMENT ON FUNCTION cauce.run_retention(integer) IS
	'archives or erases at most so many due sessions (1 to 100000) in this transaction; the run''s row, with counts';

CREATE FUNCTION cauce.schedule_retention(cron text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	job bigint;
BEGIN
	-- Only what CREATE EXTENSION pg_cron made: anybody might call a schema cron.
	IF NOT EXISTS (SELECT 1 FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
				   WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'pg_cron'
				   AND d.classid = 'pg_proc'::regclass
				   AND d.objid = to_regprocedure('cron.schedule(text, text, text)')) THEN
		RAISE EXCEPTION 'pg_cron is not installed in this database'
			USING ERRCODE = '55000', HINT = 'CREATE EXTENSION pg_cron, or leave it to the retention worker.';
	END IF;
	EXECUTE 'SELECT cron.schedule(''cauce-retention'', $1, ''SELECT cauce.run_retention()'')'
		INTO job USING cron;
	RETURN job;
END
$$;
COMMENT ON FUNCTION cauce.schedule_retention(text) IS 'runs retention by pg_cron at such times (cron syntax, GMT) beside the worker; the job''s id';

CREATE FUNCTION cauce.unschedule_retention() RETURNS boolean
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	done boolean := false;
BEGIN
	IF EXISTS (SELECT 1 FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
			   WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'pg_cron'
			   AND d.classid = 'pg_class'::regclass AND d.objid = to_regclass('cron.job')) THEN
		EXECUTE 'SELECT coalesce(bool_or(cron.unschedule(jobid)), false) FROM cron.job WHERE jobname = ''cauce-retention'''
			INTO done;
	END IF;
	RETURN done;
END
$$;
COMMENT ON FUNCTION cauce.unschedule_retention() IS 'ends what schedule_retention() began; whether there was anything';

--
-- Keys
--

CREATE FUNCTION cauce.keyring_create() RETURNS text
	AS 'MODULE_PATHNAME', 'cauce_keyring_create' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.keyring_create() IS
	'makes the keyring that cauce.keyring_file or cauce.keyring_command names; its id. Raises 55000 when there is one, or when this database has sealed data';

CREATE FUNCTION cauce.keyring_status(OUT kind text, OUT number integer, OUT last_day date, OUT in_use boolean, OUT retired boolean)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cauce_keyring_status' LANGUAGE C STABLE;
COMMENT ON FUNCTION cauce.keyring_status() IS
	'the keys that the keyring holds, never their values: kind master with its number, or epoch with its last day (UTC). Raises 55000 where it cannot be read';

CREATE FUNCTION cauce.master_of(wrapped bytea) RETURNS integer
	AS 'MODULE_PATHNAME', 'cauce_master_of' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.master_of(bytea) IS 'the number of the master key that a wrapped data key lies under; 0 for a damaged one';

CREATE FUNCTION cauce.rewrap(id uuid, account_id uuid, organization_id uuid, session_id uuid, epoch date, generation integer,
	wrapped bytea) RETURNS bytea
	AS 'MODULE_PATHNAME', 'cauce_rewrap' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.rewrap(uuid, uuid, uuid, uuid, date, integer, bytea) IS
	'a data key wrapped under the master key in use, or NULL, with a warning, when it does not unwrap; cauce''s own';

CREATE FUNCTION cauce.rotate_master_key(prepare boolean DEFAULT false) RETURNS integer
	AS 'MODULE_PATHNAME', 'cauce_rotate_master_key' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION cauce.rotate_master_key(boolean) IS
	'puts a new master key in use and wraps this database''s data keys under it, other databases'' in the background; its number. With prepare it is only added, so that the keyring can be copied to standbys first. The keyring''s change outlives a rollback';

CREATE FUNCTION cauce.retire_master_key(number integer) RETURNS void
	AS 'MODULE_PATHNAME', 'cauce_retire_master_key' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION cauce.retire_master_key(integer) IS
	'has a replaced master key destroyed once no database of the server needs it; backups made while it was in use then open no more. Raises 22023 for the one in use';

CREATE FUNCTION cauce.is_sealed_type(type oid) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH RECURSIVE inner_type (oid) AS (
		SELECT type
		UNION
		SELECT CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END
		FROM inner_type i JOIN pg_type t ON t.oid = i.oid
		WHERE t.typtype = 'd' OR t.typcategory = 'A')
	SELECT EXISTS (SELECT 1 FROM inner_type i JOIN pg_type t ON t.oid = i.oid
		JOIN pg_namespace n ON n.oid = t.typnamespace
		WHERE n.nspname = 'cauce' AND t.typname IN ('encrypted_text', 'encrypted_jsonb', 'encrypted_bytea'));
END;
COMMENT ON FUNCTION cauce.is_sealed_type(oid) IS 'whether a type is a sealed one, a domain over one or an array of one';

CREATE FUNCTION cauce.has_unbound_columns() RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT EXISTS (
		SELECT 1 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.relkind IN ('r', 'm', 'p') AND a.attnum > 0 AND NOT a.attisdropped
			AND a.atttypid >= 16384 AND cauce.is_sealed_type(a.atttypid)
			AND NOT EXISTS (SELECT 1 FROM pg_trigger t
				WHERE t.tgrelid = c.oid AND t.tgfoid = 'cauce.seal_row'::regproc));
END;
COMMENT ON FUNCTION cauce.has_unbound_columns() IS
	'whether a table without the sealing trigger has a sealed column: copies in it may lie under any generation of a key';

CREATE FUNCTION cauce.reseal(value anyelement) RETURNS anyelement
	AS 'MODULE_PATHNAME', 'cauce_reseal' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION cauce.reseal(anyelement) IS
	'a sealed value, or an array of them, sealed anew under the current generation of its key, bound as it was; cauce''s own';

CREATE FUNCTION cauce.reseal_statements(of_sessions boolean) RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('UPDATE %I.%I SET %s WHERE %s', n.nspname, c.relname,
		string_agg(format('%1$I = cauce.reseal(%1$I)', a.attname), ', ' ORDER BY a.attnum),
		CASE WHEN of_sessions
			THEN format('account_id = $1 AND %I = $2',
				convert_from(substr(t.tgargs, 1, octet_length(t.tgargs) - 1), getdatabaseencoding()))
			ELSE 'id = $1' END)
	FROM pg_trigger t
	JOIN pg_class c ON c.oid = t.tgrelid
	JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE t.tgfoid = 'cauce.seal_row'::regproc AND t.tgparentid = 0 AND (t.tgnargs > 0) = of_sessions
		AND a.atttypid >= 16384 AND cauce.is_sealed_type(a.atttypid)
	GROUP BY t.oid, n.nspname, c.relname, t.tgargs
	UNION ALL
	SELECT 'UPDATE cauce.archived_session SET bundle = cauce.reseal(bundle) WHERE account_id = $1 AND id = $2'
	WHERE of_sessions
$$;
COMMENT ON FUNCTION cauce.reseal_statements(boolean) IS
	'the statements that seal anew all that lies under the key of account $1 and session $2, or, with false, of account $1; cauce''s own';

CREATE FUNCTION cauce.wake_launcher() RETURNS void
	AS 'MODULE_PATHNAME', 'cauce_wake_launcher' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.wake_launcher() IS 'the background worker visits every database once this transaction has committed; cauce''s own';

CREATE FUNCTION cauce.rotate_data_keys(account_id uuid DEFAULT NULL, older_than interval DEFAULT '0') RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	before CONSTANT timestamptz := clock_timestamp() - older_than;
	rotation bigint;
BEGIN
	IF older_than < interval '0' THEN
		RAISE EXCEPTION 'older_than must not be negative' USING ERRCODE = '22023', HINT = 'It is the age from which keys are renewed.';
	END IF;
	INSERT INTO cauce.key_rotation (account_id, made_before, keys)
	SELECT rotate_data_keys.account_id, before, count(*)
	FROM cauce.data_key k
	WHERE k.superseded_at IS NULL AND k.created_at < before
		AND (rotate_data_keys.account_id IS NULL OR k.account_id = rotate_data_keys.account_id)
	RETURNING id INTO rotation;
	PERFORM cauce.wake_launcher();
	RETURN rotation;
END
$$;
COMMENT ON FUNCTION cauce.rotate_data_keys(uuid, interval) IS
	'gives every data key, or those of one account, that is older a next generation and has the background worker seal all content anew under it, in committed steps that go on after any interruption; the id of its row in rotation_status';

CREATE FUNCTION cauce.verify("table" regclass)
	RETURNS TABLE (account_id uuid, session_id uuid, primary_key text, column_name name, problem text)
	AS 'MODULE_PATHNAME', 'cauce_verify' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION cauce.verify(regclass) IS
	'opens every sealed value of a table and lists those that are damaged, have lost their key or lie in another place than they were sealed for; never content';

--
-- Views
--

CREATE VIEW cauce.transcript WITH (security_invoker = true) AS
	SELECT account_id, session_id, start_ms, end_ms, channel, seq, speaker,
		pg_catalog.format('[%s:%s] ', pg_catalog.lpad((start_ms / 60000)::pg_catalog.text, 2, '0'),
			pg_catalog.lpad((start_ms / 1000 % 60)::pg_catalog.text, 2, '0'))
		|| coalesce(speaker || ': ', '') || body::pg_catalog.text AS line
	FROM cauce.transcript_segment
	ORDER BY account_id, session_id, start_ms, channel, seq;
COMMENT ON VIEW cauce.transcript IS 'a readable dialogue, one line a segment; needs the identity that may open it';

CREATE VIEW cauce.due_session WITH (security_barrier = true) AS
	SELECT s.account_id, s.id, s.organization_id, 'session'::pg_catalog.text AS subject, s.retain_until AS due_at,
		coalesce(a.retention_action, o.retention_action, 'archive') AS action,
		CASE WHEN s.retention_days IS NOT NULL THEN 'retention of the session'
			 WHEN a.retention_days IS NOT NULL THEN 'retention of the account'
			 WHEN o.retention_days IS NOT NULL THEN 'retention of the organization'
			 ELSE 'default retention' END AS reason
	FROM cauce.session s
	JOIN cauce.account a ON a.id = s.account_id
	LEFT JOIN cauce.organization o ON o.id = a.organization_id
	WHERE s.retain_until <= pg_catalog.now() AND NOT s.legal_hold
	UNION ALL
	SELECT account_id, id, organization_id, 'archive', delete_after, 'delete', 'archive kept long enough'
	FROM cauce.archived_session
	WHERE delete_after <= pg_catalog.now();
COMMENT ON VIEW cauce.due_session IS 'what the next retention runs will do, and why';

CREATE VIEW cauce.retention_status WITH (security_barrier = true) AS
	SELECT (SELECT pg_catalog.max(finished_at) FROM cauce.retention_run) AS last_run,
		(SELECT pg_catalog.count(*) FROM cauce.due_session) AS backlog,
		(SELECT pg_catalog.min(due_at) FROM cauce.due_session) AS oldest_due,
		(SELECT pg_catalog.count(*) FROM cauce.retention_failure) AS failing;
COMMENT ON VIEW cauce.retention_status IS 'whether retention keeps up';

CREATE VIEW cauce.key_status WITH (security_barrier = true) AS
	WITH k AS (
		SELECT epoch, pg_catalog.count(*) AS data_keys,
			pg_catalog.count(*) FILTER (WHERE session_id IS NOT NULL) AS session_keys,
			pg_catalog.count(*) FILTER (WHERE cauce.master_of(wrapped)
				<> (SELECT number FROM cauce.keyring_status() WHERE kind = 'master' AND in_use)) AS other_master
		FROM cauce.data_key
		GROUP BY epoch),
	r AS (
		SELECT last_day AS epoch FROM cauce.keyring_status() WHERE kind = 'epoch'),
	e AS (
		SELECT epoch, coalesce(k.data_keys, 0) AS data_keys, coalesce(k.session_keys, 0) AS session_keys,
			coalesce(k.other_master, 0) AS other_master,
			epoch < (pg_catalog.now() AT TIME ZONE 'UTC')::date AS ended, r.epoch IS NOT NULL AS in_keyring
		FROM k FULL JOIN r USING (epoch))
	SELECT epoch, data_keys, session_keys, other_master, ended, in_keyring,
		CASE WHEN ended AND in_keyring AND data_keys > 0 THEN 'move data keys, then destroy'
			 WHEN ended AND in_keyring THEN 'destroy'
			 WHEN NOT ended AND NOT in_keyring THEN 'keyring lacks it'
			 WHEN other_master > 0 AND in_keyring THEN 'wrap under the master key in use' END AS due
	FROM e
	WHERE data_keys > 0 OR ended
	ORDER BY epoch;
COMMENT ON VIEW cauce.key_status IS
	'epochs that data keys lie under or that have ended: how many keys, how many of sessions, how many under another master key than the one in use, and what is due. Raises 55000 where the keyring cannot be read';

CREATE VIEW cauce.rotation_status WITH (security_barrier = true) AS
	SELECT r.id, r.requested_at, r.requested_by, r.account_id, r.keys,
		pg_catalog.count(k.id) FILTER (WHERE k.superseded_at IS NULL) AS to_renew,
		pg_catalog.count(k.id) FILTER (WHERE k.superseded_at IS NOT NULL AND k.resealed_at IS NULL) AS to_reseal,
		pg_catalog.count(k.id) FILTER (WHERE k.resealed_at IS NOT NULL AND k.session_id IS NOT NULL) AS to_destroy,
		r.finished_at
	FROM cauce.key_rotation r
	LEFT JOIN cauce.data_key k ON k.created_at < r.made_before AND (r.account_id IS NULL OR k.account_id = r.account_id)
		AND k.epoch >= (pg_catalog.now() AT TIME ZONE 'UTC')::date
		AND (k.session_id IS NULL
			OR EXISTS (SELECT FROM cauce.session s WHERE s.account_id = k.account_id AND s.id = k.session_id)
			OR EXISTS (SELECT FROM cauce.archived_session a WHERE a.account_id = k.account_id AND a.id = k.session_id))
	GROUP BY r.id
	ORDER BY r.id;
COMMENT ON VIEW cauce.rotation_status IS
	'how far each rotation of data keys is: keys without their next generation, keys whose content is still to be sealed anew, keys that wait to be destroyed';

CREATE VIEW cauce.my_access_log WITH (security_barrier = true) AS
	SELECT at, actor, role, action, session_id, reason
	FROM cauce.audit_log
	WHERE account_id = (SELECT cauce.account_id());
COMMENT ON VIEW cauce.my_access_log IS 'who else opened my sessions, when and for which reason';

--
-- Row-level security. Identity is read once a statement; no identity, no rows.
--

ALTER TABLE cauce.organization ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.account ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.session ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.transcript_segment ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.report ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.alert ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.archived_session ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.data_key ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.key_rotation ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.erasure_certificate ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.retention_run ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.retention_failure ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.alert_rule ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY mine ON cauce.organization FOR SELECT TO cauce_app
	USING (id = (SELECT cauce.organization_id()));
CREATE POLICY operate ON cauce.organization FOR SELECT TO cauce_operator USING (true);

CREATE POLICY mine ON cauce.account TO cauce_app
	USING (id = (SELECT cauce.account_id())) WITH CHECK (id = (SELECT cauce.account_id()));
CREATE POLICY members ON cauce.account FOR SELECT TO cauce_app
	USING (organization_id = (SELECT cauce.admin_organization_id()));
CREATE POLICY operate ON cauce.account FOR SELECT TO cauce_operator USING (true);

CREATE POLICY mine ON cauce.session TO cauce_app
	USING (account_id = (SELECT cauce.account_id()))
	WITH CHECK (account_id = (SELECT cauce.account_id())
		AND organization_id IS NOT DISTINCT FROM (SELECT cauce.organization_id()));
CREATE POLICY members ON cauce.session FOR SELECT TO cauce_app
	USING (organization_id = (SELECT cauce.admin_organization_id()));
CREATE POLICY operate ON cauce.session FOR SELECT TO cauce_operator USING (true);

CREATE POLICY mine ON cauce.archived_session FOR ALL TO cauce_app
	USING (account_id = (SELECT cauce.account_id())) WITH CHECK (false);
CREATE POLICY members ON cauce.archived_session FOR SELECT TO cauce_app
	USING (organization_id = (SELECT cauce.admin_organization_id()));

-- Content. The accounts that are readable at all come from one InitPlan, so that
-- the primary key serves; the sessions of others are then looked at one by one.
CREATE FUNCTION cauce.readable_account_ids() RETURNS uuid[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	organization CONSTANT uuid := cauce.content_organization_id();
BEGIN
	IF organization IS NULL THEN
		RETURN ARRAY[cauce.account_id()];
	END IF;
	RETURN ARRAY(SELECT DISTINCT s.account_id FROM cauce.session s WHERE s.organization_id = organization)
		|| cauce.account_id();
END
$$;
COMMENT ON FUNCTION cauce.readable_account_ids() IS 'the accounts whose content the caller may read some of; for policies';

CREATE POLICY mine ON cauce.transcript_segment TO cauce_app
	USING (account_id = ANY ((SELECT cauce.readable_account_ids())::uuid[])
		AND (account_id = (SELECT cauce.account_id())
			OR EXISTS (SELECT 1 FROM cauce.session s
				WHERE s.account_id = transcript_segment.account_id AND s.id = transcript_segment.session_id
				AND s.organization_id = (SELECT cauce.content_organization_id()))))
	WITH CHECK (account_id = (SELECT cauce.account_id()));
CREATE POLICY append ON cauce.transcript_segment FOR INSERT TO cauce_app, cauce_stream
	WITH CHECK (account_id = (SELECT cauce.appending_account_id())
		AND session_id = (SELECT cauce.appending_session_id()));

CREATE POLICY mine ON cauce.report TO cauce_app
	USING (account_id = ANY ((SELECT cauce.readable_account_ids())::uuid[])
		AND (account_id = (SELECT cauce.account_id())
			OR EXISTS (SELECT 1 FROM cauce.session s
				WHERE s.account_id = report.account_id AND s.id = report.session_id
				AND s.organization_id = (SELECT cauce.content_organization_id()))))
	WITH CHECK (account_id = (SELECT cauce.account_id()));

CREATE POLICY mine ON cauce.alert TO cauce_app
	USING (account_id = ANY ((SELECT cauce.readable_account_ids())::uuid[])
		AND (account_id = (SELECT cauce.account_id())
			OR EXISTS (SELECT 1 FROM cauce.session s
				WHERE s.account_id = alert.account_id AND s.id = alert.session_id
				AND s.organization_id = (SELECT cauce.content_organization_id()))))
	WITH CHECK (account_id = (SELECT cauce.account_id()));
CREATE POLICY append ON cauce.alert FOR INSERT TO cauce_app, cauce_stream
	WITH CHECK (account_id = (SELECT cauce.appending_account_id())
		AND session_id = (SELECT cauce.appending_session_id()));

CREATE POLICY mine ON cauce.erasure_certificate FOR SELECT TO cauce_app
	USING (account_id = (SELECT cauce.account_id()));
CREATE POLICY audit ON cauce.erasure_certificate FOR SELECT TO cauce_auditor USING (true);
CREATE POLICY mine ON cauce.audit_log FOR SELECT TO cauce_app
	USING (account_id = (SELECT cauce.account_id()));
CREATE POLICY audit ON cauce.audit_log FOR SELECT TO cauce_auditor USING (true);

CREATE POLICY operate ON cauce.key_rotation FOR SELECT TO cauce_operator USING (true);
CREATE POLICY operate ON cauce.retention_run FOR SELECT TO cauce_operator USING (true);
CREATE POLICY operate ON cauce.retention_failure FOR SELECT TO cauce_operator USING (true);

CREATE POLICY mine ON cauce.alert_rule TO cauce_app
	USING (account_id = (SELECT cauce.account_id())) WITH CHECK (account_id = (SELECT cauce.account_id()));
CREATE POLICY organizations ON cauce.alert_rule TO cauce_app
	USING (organization_id = (SELECT cauce.admin_organization_id()))
	WITH CHECK (organization_id = (SELECT cauce.admin_organization_id()));
CREATE POLICY readable ON cauce.alert_rule FOR SELECT TO cauce_app
	USING (organization_id = (SELECT cauce.organization_id()));

-- Only the owner changes or deletes content: an admin who reads it does not.
CREATE POLICY owner_updates ON cauce.transcript_segment AS RESTRICTIVE FOR UPDATE
	USING (account_id = (SELECT cauce.account_id()));
CREATE POLICY owner_deletes ON cauce.transcript_segment AS RESTRICTIVE FOR DELETE
	USING (account_id = (SELECT cauce.account_id()));
CREATE POLICY owner_updates ON cauce.report AS RESTRICTIVE FOR UPDATE
	USING (account_id = (SELECT cauce.account_id()));
CREATE POLICY owner_deletes ON cauce.report AS RESTRICTIVE FOR DELETE
	USING (account_id = (SELECT cauce.account_id()));
CREATE POLICY owner_updates ON cauce.alert AS RESTRICTIVE FOR UPDATE
	USING (account_id = (SELECT cauce.account_id()));
CREATE POLICY owner_deletes ON cauce.alert AS RESTRICTIVE FOR DELETE
	USING (account_id = (SELECT cauce.account_id()));

--
-- Privileges. Nothing is PUBLIC's.
--

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cauce FROM PUBLIC;

GRANT SELECT ON cauce.organization, cauce.account, cauce.archived_session, cauce.erasure_certificate,
	cauce.my_access_log, cauce.transcript TO cauce_app;
GRANT UPDATE (display_name, email) ON cauce.account TO cauce_app;
GRANT SELECT, DELETE ON cauce.session, cauce.transcript_segment, cauce.report, cauce.alert TO cauce_app;
GRANT INSERT (account_id, id, organization_id, title, client, language, status, started_at, ended_at,
	retention_days) ON cauce.session TO cauce_app;
GRANT UPDATE (title, client, language, status, ended_at, retention_days) ON cauce.session TO cauce_app;
GRANT INSERT, UPDATE (channel, seq, speaker, start_ms, end_ms, confidence, body)
	ON cauce.transcript_segment TO cauce_app;
GRANT INSERT, UPDATE (kind, body) ON cauce.report TO cauce_app;
GRANT INSERT, UPDATE (kind, severity, at_ms, detail) ON cauce.alert TO cauce_app;
GRANT DELETE ON cauce.archived_session TO cauce_app;
GRANT SELECT, DELETE ON cauce.alert_rule TO cauce_app;
GRANT INSERT (organization_id, account_id, pattern, kind, severity), UPDATE (pattern, kind, severity)
	ON cauce.alert_rule TO cauce_app;
GRANT INSERT ON cauce.transcript_segment, cauce.alert TO cauce_stream;
GRANT SELECT (id, name, plan, admin_access, retention_days, retention_action, created_at)
	ON cauce.organization TO cauce_operator;
GRANT SELECT (id, organization_id, subject, role, login_role, retention_days, retention_action, created_at)
	ON cauce.account TO cauce_operator;
GRANT SELECT (account_id, id, organization_id, status, started_at, ended_at, retention_days, retain_until,
	legal_hold) ON cauce.session TO cauce_operator;
GRANT SELECT ON cauce.retention_run, cauce.retention_failure, cauce.due_session, cauce.retention_status,
	cauce.key_status, cauce.key_rotation, cauce.rotation_status TO cauce_operator;
GRANT SELECT ON cauce.audit_log, cauce.erasure_certificate TO cauce_auditor;

-- Input and output functions are reached through the type, by whoever may use it.
GRANT EXECUTE ON FUNCTION cauce.encrypted_text_in(cstring), cauce.encrypted_text_out(cauce.encrypted_text),
	cauce.encrypted_text_recv(internal), cauce.encrypted_text_send(cauce.encrypted_text),
	cauce.encrypted_text(text), cauce.open_text(cauce.encrypted_text),
	cauce.encrypted_jsonb_in(cstring), cauce.encrypted_jsonb_out(cauce.encrypted_jsonb),
	cauce.encrypted_jsonb_recv(internal), cauce.encrypted_jsonb_send(cauce.encrypted_jsonb),
	cauce.encrypted_jsonb(jsonb), cauce.encrypted_jsonb(json), cauce.open_jsonb(cauce.encrypted_jsonb),
	cauce.open_json(cauce.encrypted_jsonb), cauce.open_text(cauce.encrypted_jsonb),
	cauce.encrypted_bytea_in(cstring), cauce.encrypted_bytea_out(cauce.encrypted_bytea),
	cauce.encrypted_bytea_recv(internal), cauce.encrypted_bytea_send(cauce.encrypted_bytea),
	cauce.encrypted_bytea(bytea), cauce.open_bytea(cauce.encrypted_bytea), cauce.open_text(cauce.encrypted_bytea),
	cauce.account_id(), cauce.organization_id(), cauce.is_admin(), cauce.token_scope(),
	cauce.appending_account_id(), cauce.appending_session_id(), cauce.admin_organization_id(),
	cauce.content_organization_id(), cauce.readable_account_ids()
	TO cauce_app, cauce_stream, cauce_operator, cauce_auditor;
GRANT EXECUTE ON FUNCTION cauce.set_retention(integer, cauce.retention_action),
	cauce.set_organization_retention(uuid, integer, cauce.retention_action),
	cauce.stream_token(uuid, interval), cauce.archive_session(uuid), cauce.restore_session(uuid)
	TO cauce_app;
GRANT EXECUTE ON FUNCTION cauce.open_certificate(text), cauce.certificate_jwks(), cauce.verify_certificate(uuid)
	TO cauce_app, cauce_auditor, cauce_operator;
GRANT EXECUTE ON FUNCTION cauce.create_organization(text, text),
	cauce.create_account(text, uuid, cauce.account_role, text, text),
	cauce.run_retention(integer), cauce.schedule_retention(text), cauce.unschedule_retention(),
	cauce.keyring_status(), cauce.master_of(bytea), cauce.is_sealed_type(oid), cauce.has_unbound_columns(),
	cauce.verify(regclass)
	TO cauce_operator;
