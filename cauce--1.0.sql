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
	FOREACH name IN ARRAY ARRAY['cauce_app', 'cauce_stream', 'cauce_operator', 'cauce_auditor', 'cauce_support'] LOOP
		IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', name);
		END IF;
	END LOOP;
END
$$;

REVOKE ALL ON SCHEMA cauce FROM PUBLIC;
GRANT USAGE ON SCHEMA cauce TO cauce_app, cauce_stream, cauce_operator, cauce_auditor, cauce_support;

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
-- Identity. Who is asking, from the verified token in cauce.token, or else from the login.
--

CREATE FUNCTION cauce.account_id() RETURNS uuid
	AS 'MODULE_PATHNAME', 'cauce_account_id' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.account_id() IS
	'the account that is asking: the token''s, or else the login''s; NULL without identity and for a stream token. Raises 28000 when the token has expired or its subject is unknown';
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
	login_role_oid oid,
	retention_days integer CHECK (retention_days BETWEEN 1 AND 3650),
	retention_action cauce.retention_action,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX account_organization_id ON cauce.account (organization_id);
COMMENT ON TABLE cauce.account IS 'a professional or an admin; subject is the token''s sub';
COMMENT ON COLUMN cauce.account.login_role IS 'the database login that is this account without a token; see set_login_role()';
COMMENT ON COLUMN cauce.account.login_role_oid IS
	'the role that login_role named when it was set; kept by trigger, so that a later role of that name is nobody';

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
CREATE INDEX session_id ON cauce.session (id);
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
	bundle bytea,
	legal_hold boolean NOT NULL DEFAULT false,
	bundle_digest bytea CHECK (pg_catalog.octet_length(bundle_digest) = 32),
	bundle_bytes integer,
	PRIMARY KEY (account_id, id),
	CHECK ((bundle IS NULL) = (bundle_digest IS NOT NULL) AND (bundle IS NULL) = (bundle_bytes IS NOT NULL))
);
ALTER TABLE cauce.archived_session ALTER COLUMN bundle SET STORAGE EXTERNAL;
CREATE INDEX archived_session_organization_id ON cauce.archived_session (organization_id);
CREATE INDEX archived_session_delete_after ON cauce.archived_session (delete_after);
CREATE INDEX archived_session_here ON cauce.archived_session (archived_at) WHERE bundle IS NOT NULL;
COMMENT ON TABLE cauce.archived_session IS 'sessions moved out of the live tables, each one sealed bundle; restore_session() brings one back, DELETE erases it';
COMMENT ON COLUMN cauce.archived_session.bundle IS
	'the session, sealed; NULL while cauce.archive_command''s storage has it: open_archive() finds it wherever it is';
COMMENT ON COLUMN cauce.archived_session.bundle_digest IS 'SHA-256 of the sealed bundle while storage has it';
COMMENT ON COLUMN cauce.archived_session.bundle_bytes IS 'size of the sealed bundle while storage has it';

CREATE TABLE cauce.stored_bundle (
	account_id uuid NOT NULL,
	session_id uuid NOT NULL,
	digest bytea NOT NULL CHECK (pg_catalog.octet_length(digest) = 32),
	bytes integer NOT NULL,
	stored_at timestamptz,
	sqlstate text,
	message text,
	attempts integer NOT NULL DEFAULT 0,
	failed_at timestamptz,
	retry_at timestamptz,
	PRIMARY KEY (account_id, session_id, digest)
);
COMMENT ON TABLE cauce.stored_bundle IS
	'every file that may be in cauce.archive_command''s storage, called session_id, a hyphen and the digest in hex; its last failure, and the next try';

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

-- Not data_key itself: with it, every plan that reads data keys would have to be made anew, everywhere.
CREATE VIEW cauce.key_signal WITH (security_invoker = true) AS SELECT;
COMMENT ON VIEW cauce.key_signal IS 'shows nothing; its invalidation tells every backend and standby to forget cached keys';

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
	id uuid NOT NULL,
	at timestamptz NOT NULL,
	actor text NOT NULL,
	role text NOT NULL,
	action text NOT NULL,
	account_id uuid NOT NULL,
	organization_id uuid,
	session_id uuid,
	reason text,
	chain uuid NOT NULL,
	previous_digest bytea,
	digest bytea NOT NULL,
	jws text NOT NULL,
	PRIMARY KEY (account_id, id),
	UNIQUE (account_id, chain, at),
	UNIQUE NULLS NOT DISTINCT (account_id, chain, previous_digest)
);
CREATE INDEX audit_log_organization_id ON cauce.audit_log (organization_id, at) WHERE organization_id IS NOT NULL;
COMMENT ON TABLE cauce.audit_log IS
	'who opened or changed what: signed entries, chained by the SHA-256 of the previous jws; a chain per account, or else per organization, or else the server''s';
COMMENT ON COLUMN cauce.audit_log.account_id IS 'whose it is about; all zero where it is about no account';
COMMENT ON COLUMN cauce.audit_log.actor IS 'the subject of who did it; an account''s id where it is its owner; a database role; a process';

CREATE TABLE cauce.break_glass_grant (
	account_id uuid NOT NULL REFERENCES cauce.account (id) ON DELETE CASCADE,
	id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	grantee_id uuid NOT NULL REFERENCES cauce.account (id) ON DELETE CASCADE,
	reason text NOT NULL,
	granted_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	until timestamptz NOT NULL,
	PRIMARY KEY (account_id, id)
);
CREATE INDEX break_glass_grant_grantee_id ON cauce.break_glass_grant (grantee_id, until);
COMMENT ON TABLE cauce.break_glass_grant IS 'who may read whose content for a time, by break_glass(), and why';

CREATE TABLE cauce.invitation (
	organization_id uuid NOT NULL REFERENCES cauce.organization (id) ON DELETE CASCADE,
	subject text NOT NULL CHECK (subject <> '' AND pg_catalog.octet_length(subject) < 256),
	role cauce.account_role NOT NULL,
	invited_by uuid NOT NULL REFERENCES cauce.account (id) ON DELETE CASCADE,
	invited_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (organization_id, subject)
);
CREATE INDEX invitation_subject ON cauce.invitation (subject);
CREATE INDEX invitation_invited_by ON cauce.invitation (invited_by);
COMMENT ON TABLE cauce.invitation IS 'whom an organization''s admins have asked to join; an account joins by itself';

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
	message text,
	attempts integer NOT NULL,
	failed_at timestamptz NOT NULL,
	retry_at timestamptz NOT NULL,
	PRIMARY KEY (account_id, session_id)
);
COMMENT ON TABLE cauce.retention_failure IS 'sessions that retention could not process, and when it tries again';

CREATE TABLE cauce.clock (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	seen_at timestamptz NOT NULL
);
COMMENT ON TABLE cauce.clock IS 'when this database last saw a clock that it trusted; what time destroys waits for one';

CREATE TABLE cauce.protect_job (
	"table" regclass PRIMARY KEY,
	session_column name NOT NULL,
	encrypt name[] NOT NULL,
	phase text NOT NULL DEFAULT 'sealing' CHECK (phase IN ('sealing', 'checking', 'vacuum full pending')),
	part oid NOT NULL DEFAULT 0,
	next_block bigint NOT NULL DEFAULT 0,
	rows_done bigint NOT NULL DEFAULT 0,
	rows_total bigint NOT NULL,
	filenodes oid[],
	started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE cauce.protect_job IS 'where protect_gradually() is in each table; its rows are no part of a dump';

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

CREATE TABLE cauce.former_name (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	former_schema name NOT NULL,
	former_table name NOT NULL,
	former_column name,
	"schema" name NOT NULL,
	"table" name NOT NULL,
	"column" name
);
COMMENT ON TABLE cauce.former_name IS 'renamings that rebind() was told of: archives from before have the former names';

-- What pg_dump carries beside CREATE EXTENSION.
DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['organization', 'account', 'data_key', 'key_rotation', 'key_rotation_id_seq', 'session', 'transcript_segment', 'report',
		'alert', 'archived_session', 'erasure_certificate', 'audit_log', 'break_glass_grant', 'invitation', 'retention_failure', 'alert_rule',
		'former_name', 'former_name_id_seq', 'clock', 'stored_bundle'] LOOP
		PERFORM pg_catalog.pg_extension_config_dump(('cauce.' || name)::pg_catalog.regclass, '');
	END LOOP;
	-- A job names blocks and files of this server, and a table that a partial dump may leave out.
	PERFORM pg_catalog.pg_extension_config_dump('cauce.protect_job', 'WHERE false');
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
CREATE FUNCTION cauce.audit_hold() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_audit_hold' LANGUAGE C;
COMMENT ON FUNCTION cauce.audit_hold() IS 'trigger: notes for the audit log who sets or releases a legal hold';
CREATE TRIGGER cauce_audit_hold AFTER UPDATE OF legal_hold ON cauce.session
	FOR EACH ROW EXECUTE FUNCTION cauce.audit_hold();
CREATE TRIGGER cauce_hold BEFORE DELETE ON cauce.archived_session
	FOR EACH ROW EXECUTE FUNCTION cauce.hold_session();
CREATE TRIGGER cauce_audit_hold AFTER UPDATE OF legal_hold ON cauce.archived_session
	FOR EACH ROW EXECUTE FUNCTION cauce.audit_hold();

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

-- What is loaded or replicated names roles that may not be here: these are nobody until they are named anew.
CREATE FUNCTION cauce.keep_login_role() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	is_superuser boolean;
BEGIN
	NEW.login_role_oid := NULL;
	SELECT r.oid, r.rolsuper INTO NEW.login_role_oid, is_superuser FROM pg_roles r WHERE r.rolname = NEW.login_role;
	IF TG_OP = 'UPDATE' AND current_setting('session_replication_role') <> 'replica' AND NEW.login_role IS NOT NULL THEN
		IF NEW.login_role_oid IS NULL THEN
			RAISE EXCEPTION 'role "%" does not exist', NEW.login_role
				USING ERRCODE = '42704', HINT = 'Create the login first: CREATE ROLE … LOGIN IN ROLE cauce_app.';
		ELSIF is_superuser THEN
			RAISE EXCEPTION 'a superuser is no account'
				USING ERRCODE = '42501', DETAIL = format('Role "%s" is a superuser: what it dumps must stay sealed.', NEW.login_role),
					HINT = 'Name a login of the professional''s own.';
		END IF;
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION cauce.keep_login_role() IS 'trigger: keeps the OID of the role that login_role names';
CREATE TRIGGER cauce_login BEFORE INSERT OR UPDATE OF login_role, login_role_oid ON cauce.account
	FOR EACH ROW WHEN (NEW.login_role IS NOT NULL OR NEW.login_role_oid IS NOT NULL) EXECUTE FUNCTION cauce.keep_login_role();

-- Who a subject is, is remembered by every backend. A logical replication worker fires row triggers only.
CREATE TRIGGER cauce_changed AFTER UPDATE ON cauce.account
	FOR EACH ROW WHEN ((OLD.id, OLD.subject, OLD.role, OLD.organization_id, OLD.login_role, OLD.login_role_oid)
		IS DISTINCT FROM (NEW.id, NEW.subject, NEW.role, NEW.organization_id, NEW.login_role, NEW.login_role_oid))
	EXECUTE FUNCTION cauce.account_changed();
CREATE TRIGGER cauce_gone AFTER DELETE ON cauce.account
	FOR EACH ROW EXECUTE FUNCTION cauce.account_changed();
-- A login that is nobody is remembered as well.
CREATE TRIGGER cauce_login_new AFTER INSERT ON cauce.account
	FOR EACH ROW WHEN (NEW.login_role IS NOT NULL) EXECUTE FUNCTION cauce.account_changed();
CREATE TRIGGER cauce_changed AFTER UPDATE ON cauce.organization
	FOR EACH ROW WHEN ((OLD.id, OLD.plan, OLD.admin_access) IS DISTINCT FROM (NEW.id, NEW.plan, NEW.admin_access))
	EXECUTE FUNCTION cauce.account_changed();
CREATE TRIGGER cauce_gone AFTER DELETE ON cauce.organization
	FOR EACH ROW EXECUTE FUNCTION cauce.account_changed();
CREATE TRIGGER cauce_changed AFTER INSERT OR UPDATE OR DELETE ON cauce.break_glass_grant
	FOR EACH ROW EXECUTE FUNCTION cauce.account_changed();
ALTER TABLE cauce.break_glass_grant ENABLE ALWAYS TRIGGER cauce_changed;
ALTER TABLE cauce.account ENABLE ALWAYS TRIGGER cauce_changed, ENABLE ALWAYS TRIGGER cauce_gone,
	ENABLE ALWAYS TRIGGER cauce_login, ENABLE ALWAYS TRIGGER cauce_login_new;
ALTER TABLE cauce.organization ENABLE ALWAYS TRIGGER cauce_changed, ENABLE ALWAYS TRIGGER cauce_gone;

CREATE TRIGGER cauce_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cauce.erasure_certificate
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.append_only();
CREATE TRIGGER cauce_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cauce.audit_log
	FOR EACH STATEMENT EXECUTE FUNCTION cauce.append_only();
ALTER TABLE cauce.erasure_certificate ENABLE ALWAYS TRIGGER cauce_append_only;
ALTER TABLE cauce.audit_log ENABLE ALWAYS TRIGGER cauce_append_only;

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
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	made uuid;
BEGIN
	INSERT INTO cauce.organization (name, plan)
		VALUES (create_organization.name, create_organization.plan) RETURNING id INTO made;
	PERFORM cauce.record_change('create', NULL, made, NULL, format('organization, plan %s', plan));
	RETURN made;
END
$$;
COMMENT ON FUNCTION cauce.create_organization(text, text) IS 'a new organization''s id; plan is individual or business';

CREATE FUNCTION cauce.make_account_key(id uuid) RETURNS uuid
	AS 'MODULE_PATHNAME', 'cauce_make_account_key' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION cauce.make_account_key(uuid) IS 'makes an account''s key; cauce''s own';

CREATE FUNCTION cauce.create_account(
	subject text, organization_id uuid DEFAULT NULL, role cauce.account_role DEFAULT 'professional',
	display_name text DEFAULT NULL, email text DEFAULT NULL) RETURNS uuid
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	made uuid;
BEGIN
	INSERT INTO cauce.account (subject, organization_id, role, display_name, email)
		VALUES (create_account.subject, create_account.organization_id, create_account.role,
			create_account.display_name, create_account.email) RETURNING id INTO made;
	-- In the organization's chain: it is its admins who want to know of another one.
	PERFORM cauce.record_change('create', NULL, organization_id, NULL, format('account %s, as %s', made, role));
	RETURN cauce.make_account_key(made);
END
$$;
COMMENT ON FUNCTION cauce.create_account(text, uuid, cauce.account_role, text, text) IS
	'a new account''s id; subject is the sub of its tokens, display_name and email are sealed under its own key';

CREATE FUNCTION cauce.set_login_role(account_id uuid, login_role name) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE cauce.account a SET login_role = set_login_role.login_role WHERE a.id = set_login_role.account_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no such account'
			USING ERRCODE = 'P0002', DETAIL = format('Its id would be %s.', account_id), HINT = 'SELECT id, subject FROM cauce.account.';
	END IF;
END
$$;
COMMENT ON FUNCTION cauce.set_login_role(uuid, name) IS
	'ties an account to a database login, which then is that account without a token; NULL unties it. For superusers: whoever may do this can read everything';

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
	WHERE s.organization_id = wanted AND s.account_id = a.id
		AND s.retention_days IS NULL AND a.retention_days IS NULL;
END
$$;
COMMENT ON FUNCTION cauce.set_organization_retention(uuid, integer, cauce.retention_action) IS
	'what holds for the organization''s sessions where neither session nor account chose anything; for an admin of the organization';

--
-- Membership. An admin invites, the account joins: nobody is drawn into an organization, and an invitation tells
-- nothing about who has an account.
--

CREATE FUNCTION cauce.require_admin() RETURNS uuid
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF cauce.admin_organization_id() IS NULL THEN
		RAISE EXCEPTION 'permission denied to change members'
			USING ERRCODE = '42501', HINT = 'An admin of an organization with plan business does it, with their token.';
	END IF;
	RETURN cauce.admin_organization_id();
END
$$;
COMMENT ON FUNCTION cauce.require_admin() IS 'the organization whose admin is asking; raises 42501 for anybody else; cauce''s own';

CREATE FUNCTION cauce.invite_member(subject text, role cauce.account_role DEFAULT 'professional') RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	home CONSTANT uuid := cauce.require_admin();
BEGIN
	IF subject IS NULL OR subject = '' OR octet_length(subject) > 255 OR role IS NULL THEN
		RAISE EXCEPTION 'subject must have between 1 and 255 bytes, and there must be a role' USING ERRCODE = '22023';
	END IF;
	INSERT INTO cauce.invitation AS i (organization_id, subject, role, invited_by)
		VALUES (home, invite_member.subject, invite_member.role, cauce.account_id())
		ON CONFLICT ON CONSTRAINT invitation_pkey DO UPDATE
			SET role = excluded.role, invited_by = excluded.invited_by, invited_at = excluded.invited_at;
	PERFORM cauce.record_change('invite', NULL, home, NULL, format('a member, as %s', role));
END
$$;
COMMENT ON FUNCTION cauce.invite_member(text, cauce.account_role) IS
	'asks whoever has tokens with this subject to join the caller''s organization; nothing tells whether there is such an account. For an admin';

CREATE FUNCTION cauce.withdraw_invitation(subject text) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	home CONSTANT uuid := cauce.require_admin();
BEGIN
	DELETE FROM cauce.invitation i WHERE i.organization_id = home AND i.subject = withdraw_invitation.subject;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	PERFORM cauce.record_change('invite', NULL, home, NULL, 'withdrawn');
	RETURN true;
END
$$;
COMMENT ON FUNCTION cauce.withdraw_invitation(text) IS 'takes an invitation back; whether there was one. For an admin';

CREATE FUNCTION cauce.join_organization(organization_id uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted CONSTANT uuid := organization_id;
	me cauce.account;
	as_what cauce.account_role;
BEGIN
	SELECT * INTO me FROM cauce.account a WHERE a.id = cauce.account_id() FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no account is asking'
			USING ERRCODE = '28000', DETAIL = 'No identity with scope app is in force.', HINT = 'SELECT set_config(''cauce.token'', $1, true) with your token.';
	END IF;
	IF me.organization_id IS NOT NULL THEN
		RAISE EXCEPTION 'the account is a member of an organization already'
			USING ERRCODE = '55000', HINT = 'SELECT cauce.leave_organization() first.';
	END IF;
	-- An invitation is worth what whoever made it still is: an admin who was removed comes back by none of their own.
	SELECT i.role INTO as_what
		FROM cauce.invitation i
		JOIN cauce.account a ON a.id = i.invited_by AND a.organization_id = wanted AND a.role = 'admin'
		JOIN cauce.organization o ON o.id = wanted AND o.plan = 'business'
		WHERE i.organization_id = wanted AND i.subject = me.subject FOR SHARE OF a, o;
	DELETE FROM cauce.invitation i WHERE as_what IS NOT NULL AND i.organization_id = wanted AND i.subject = me.subject;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no invitation to this organization'
			USING ERRCODE = '42501', HINT = 'Yours are in cauce.invitation; an admin of the organization makes them, and they hold as long as it is one.';
	END IF;
	UPDATE cauce.account a SET organization_id = wanted, role = as_what WHERE a.id = me.id;
END
$$;
COMMENT ON FUNCTION cauce.join_organization(uuid) IS
	'accepts an invitation: sessions that begin from now on are of the organization, and seen by its admins; earlier ones are not';

-- Whoever leaves keeps all sessions; those that took place in the organization stay of it.
CREATE FUNCTION cauce.end_membership(account_id uuid) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	UPDATE cauce.account SET organization_id = NULL, role = 'professional' WHERE id = end_membership.account_id;
END;
COMMENT ON FUNCTION cauce.end_membership(uuid) IS 'makes an account a member of no organization; cauce''s own';

CREATE FUNCTION cauce.leave_organization() RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF cauce.organization_id() IS NULL THEN
		RAISE EXCEPTION 'no member of an organization is asking' USING ERRCODE = '42501', HINT = 'Set the token of a member.';
	END IF;
	PERFORM cauce.end_membership(cauce.account_id());
END
$$;
COMMENT ON FUNCTION cauce.leave_organization() IS
	'ends my membership; sessions that took place in the organization stay mine, and stay visible to its admins as before';

CREATE FUNCTION cauce.require_member(account_id uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	home CONSTANT uuid := cauce.require_admin();
BEGIN
	PERFORM FROM cauce.account a WHERE a.id = require_member.account_id AND a.organization_id = home FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no such member of your organization' USING ERRCODE = '42501', HINT = 'Its members are in cauce.account.';
	END IF;
END
$$;
COMMENT ON FUNCTION cauce.require_member(uuid) IS 'raises 42501 unless the account is a member of the organization whose admin is asking; cauce''s own';

CREATE FUNCTION cauce.remove_member(account_id uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cauce.require_member(account_id);
	PERFORM cauce.end_membership(account_id);
END
$$;
COMMENT ON FUNCTION cauce.remove_member(uuid) IS 'ends the membership of an account, as leave_organization() does; for an admin';

CREATE FUNCTION cauce.set_member_role(account_id uuid, role cauce.account_role) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM cauce.require_member(account_id);
	UPDATE cauce.account a SET role = set_member_role.role WHERE a.id = set_member_role.account_id;
END
$$;
COMMENT ON FUNCTION cauce.set_member_role(uuid, cauce.account_role) IS 'makes a member an admin, or a professional; for an admin';

CREATE FUNCTION cauce.stream_token(session_id uuid, ttl interval DEFAULT '4 hours') RETURNS text
	AS 'MODULE_PATHNAME', 'cauce_stream_token' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION cauce.stream_token(uuid, interval) IS
	'a signed token that can only append segments and alerts to one live session of mine, for at most a day';

-- What a stream token may do beside appending; each asks for the live session of the token.
CREATE FUNCTION cauce.stream_alert_rules(OUT id uuid, OUT pattern text, OUT kind text, OUT severity text)
	RETURNS SETOF record
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT r.id, r.pattern, r.kind, r.severity
	FROM cauce.account a
	JOIN cauce.alert_rule r ON r.account_id = a.id OR r.organization_id = a.organization_id
	WHERE a.id = cauce.appending_account_id() AND cauce.appending_session_id() IS NOT NULL
	ORDER BY r.id;
END;
COMMENT ON FUNCTION cauce.stream_alert_rules() IS
	'the alert rules of a stream token''s account and of its organization, while its session is live';

CREATE FUNCTION cauce.end_stream() RETURNS boolean
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
	WITH ended AS (
		UPDATE cauce.session SET status = 'ended'
		WHERE account_id = cauce.appending_account_id() AND id = cauce.appending_session_id()
		RETURNING 1)
	SELECT EXISTS (SELECT FROM ended)
$$;
COMMENT ON FUNCTION cauce.end_stream() IS
	'ends the live session of a stream token; whether there was one';

--
-- Audit
--

CREATE FUNCTION cauce.record_change(action text, account_id uuid, organization_id uuid, session_id uuid, reason text) RETURNS void
	AS 'MODULE_PATHNAME', 'cauce_record_change' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.record_change(text, uuid, uuid, uuid, text) IS
	'notes for the audit log what whoever is asking changes; written when the transaction commits; cauce''s own';

CREATE FUNCTION cauce.open_audit_entry(jws text) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'cauce_open_audit_entry' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.open_audit_entry(text) IS
	'the payload of an audit entry that this keyring signed, else NULL; certificate_jwks() verifies it offline';

CREATE FUNCTION cauce.audit_guards() RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('trigger cauce_append_only of table %s is off or gone', t)
	FROM unnest(ARRAY['cauce.audit_log', 'cauce.erasure_certificate']::regclass[]) t
	WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t AND g.tgname = 'cauce_append_only' AND g.tgenabled = 'A'
		AND g.tgfoid = 'cauce.append_only()'::regprocedure)
	UNION ALL
	SELECT format('trigger %s of table %s is off or gone', n, t)
	FROM (VALUES ('cauce.organization', 'cauce_audit'), ('cauce.account', 'cauce_audit'), ('cauce.session', 'cauce_audit'),
		('cauce.session', 'cauce_audit_hold'), ('cauce.archived_session', 'cauce_audit_hold')) v (t, n)
	WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t::regclass AND g.tgname = n AND g.tgenabled = 'A')
	UNION ALL
	SELECT format('event trigger %s is off or gone', n)
	FROM unnest(ARRAY['cauce_altered', 'cauce_dropped']) n
	WHERE NOT EXISTS (SELECT FROM pg_event_trigger e WHERE e.evtname = n AND e.evtenabled = 'A');
END;
COMMENT ON FUNCTION cauce.audit_guards() IS 'what has been switched off that keeps the audit log and the certificates; for verify_audit()';

CREATE FUNCTION cauce.verify_audit() RETURNS TABLE (account_id uuid, chain uuid, id uuid, problem text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
BEGIN ATOMIC
	SELECT NULL::uuid, NULL::uuid, NULL::uuid, g FROM cauce.audit_guards() g
	UNION ALL
	SELECT e.account_id, e.chain, e.id, p.problem
	FROM (SELECT l.*, cauce.open_audit_entry(l.jws) AS signed, lag(l.digest) OVER w AS before, lag(l.id) OVER w IS NULL AS first,
			-- An admin sees of other accounts' chains the entries that are of the organization: where one is missing cannot be told.
			l.account_id = '00000000-0000-0000-0000-000000000000' OR l.account_id = (SELECT cauce.account_id())
				OR (SELECT pg_has_role('cauce_auditor', 'USAGE')) AS whole
		FROM cauce.audit_log l WINDOW w AS (PARTITION BY l.account_id, l.chain ORDER BY l.at)) e
	CROSS JOIN LATERAL (SELECT CASE
		WHEN e.signed IS NULL THEN 'not signed with this keyring'
		WHEN e.signed->>'jti' <> e.id::text OR (e.signed->>'at')::timestamptz <> e.at OR e.signed->>'actor' <> e.actor
			OR e.signed->>'role' <> e.role OR e.signed->>'action' <> e.action OR e.signed->>'account_id' <> e.account_id::text
			OR e.signed->>'organization_id' IS DISTINCT FROM e.organization_id::text
			OR e.signed->>'session_id' IS DISTINCT FROM e.session_id::text OR e.signed->>'reason' IS DISTINCT FROM e.reason
			OR e.signed->>'chain' <> e.chain::text OR e.signed->>'previous_digest' IS DISTINCT FROM encode(e.previous_digest, 'hex')
			OR e.digest <> sha256(convert_to(e.jws, 'UTF8')) THEN 'changed'
		WHEN NOT e.whole THEN NULL
		WHEN NOT e.first AND e.previous_digest IS DISTINCT FROM e.before THEN 'an entry before it is missing'
		WHEN e.first AND e.previous_digest IS NOT NULL AND NOT EXISTS (
			SELECT FROM cauce.audit_log n WHERE n.account_id = e.account_id AND n.chain = e.chain AND n.action = 'prune'
				AND right(n.reason, 64) = encode(e.previous_digest, 'hex')) THEN 'the entries before it are missing'
		END AS problem) p
	WHERE p.problem IS NOT NULL;
END;
COMMENT ON FUNCTION cauce.verify_audit() IS
	'what is wrong with the audit log as far as the caller may read it: entries that were changed, forged or removed from the beginning or the middle of a chain, and guards that are off; no row means that all is well';

CREATE FUNCTION cauce.record_at_once(action text, account_id uuid, organization_id uuid, session_id uuid, reason text) RETURNS void
	AS 'MODULE_PATHNAME', 'cauce_record_at_once' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.record_at_once(text, uuid, uuid, uuid, text) IS
	'writes an entry of the audit log that stays whatever becomes of this transaction; cauce''s own';

CREATE FUNCTION cauce.visible_account_ids() RETURNS uuid[]
	AS 'MODULE_PATHNAME', 'cauce_visible_account_ids' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.visible_account_ids() IS 'the accounts all of whose sessions the caller sees: the caller''s own, and those under break_glass(); for policies';

CREATE FUNCTION cauce.break_glass(account_id uuid, reason text, ttl interval DEFAULT '1 hour') RETURNS timestamptz
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO'
AS $$
DECLARE
	me CONSTANT uuid := cauce.account_id();
	ends CONSTANT timestamptz := clock_timestamp() + ttl;
	whose cauce.account;
BEGIN
	IF me IS NULL THEN
		RAISE EXCEPTION 'no account is asking'
			USING ERRCODE = '28000', DETAIL = 'Content opens for somebody, never for a database role alone.',
				HINT = 'SELECT set_config(''cauce.token'', $1, true) with the token of whoever is going to read.';
	END IF;
	IF reason IS NULL OR btrim(reason, E' \t\r\n') = '' OR octet_length(reason) > 400 THEN
		RAISE EXCEPTION 'break_glass needs a reason of at most 400 bytes'
			USING ERRCODE = '22023', HINT = 'The owner of the content reads it.';
	END IF;
	IF ttl IS NULL OR ends <= clock_timestamp() OR ends > clock_timestamp() + interval '24 hours' THEN
		RAISE EXCEPTION 'ttl must be positive and at most 24 hours' USING ERRCODE = '22023', DETAIL = format('It is %s.', ttl);
	END IF;
	SELECT * INTO whose FROM cauce.account a WHERE a.id = break_glass.account_id;
	IF NOT FOUND OR whose.id = me THEN
		RAISE EXCEPTION 'no such account, or your own' USING ERRCODE = '22023', HINT = 'Name the account whose content you need to read.';
	END IF;
	PERFORM FROM cauce.account a WHERE a.id = me FOR UPDATE;
	IF (SELECT count(*) FROM cauce.break_glass_grant g WHERE g.grantee_id = me AND g.until > clock_timestamp()) >= 16 THEN
		RAISE EXCEPTION 'too many accounts are open to you under break_glass()' USING ERRCODE = '54000', DETAIL = 'Sixteen at once are the limit.';
	END IF;
	-- Committed before anything can be read, and whatever this transaction comes to.
	PERFORM cauce.record_at_once('break glass', whose.id, whose.organization_id, NULL, format('%s (until %s)', reason, ends));
	INSERT INTO cauce.break_glass_grant (account_id, grantee_id, reason, until) VALUES (whose.id, me, reason, ends);
	RETURN ends;
END
$$;
COMMENT ON FUNCTION cauce.break_glass(uuid, text, interval) IS
	'lets the account that is asking read, never change, all content of another for at most 24 hours; for members of cauce_support. The owner sees reason and caller at once in my_access_log, and then each session that is opened. When it ends';

CREATE FUNCTION cauce.end_break_glass(account_id uuid) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	me CONSTANT uuid := cauce.account_id();
BEGIN
	UPDATE cauce.break_glass_grant g SET until = clock_timestamp()
		WHERE g.account_id = end_break_glass.account_id AND g.until > clock_timestamp() AND me IN (g.grantee_id, g.account_id);
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	PERFORM cauce.record_change('end break glass', account_id, (SELECT a.organization_id FROM cauce.account a WHERE a.id = end_break_glass.account_id), NULL, NULL);
	RETURN true;
END
$$;
COMMENT ON FUNCTION cauce.end_break_glass(uuid) IS
	'ends break_glass() on an account before its time: for whoever broke it, and for the account itself; whether there was any';

-- What a change of settings was. As the owner, so that whoever may change them need not be able to write the log.
CREATE FUNCTION cauce.audit_settings() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	before CONSTANT jsonb := to_jsonb(OLD);
	after CONSTANT jsonb := to_jsonb(NEW);
	changes text;
BEGIN
	SELECT string_agg(CASE k WHEN 'subject' THEN k
			ELSE format('%s: %s -> %s', k, coalesce(before->>k, 'none'), coalesce(after->>k, 'none')) END, ', ' ORDER BY o)
		INTO changes
		FROM unnest(TG_ARGV) WITH ORDINALITY u (k, o) WHERE before->k IS DISTINCT FROM after->k;
	IF changes IS NOT NULL AND TG_RELID = 'cauce.organization'::regclass THEN
		PERFORM cauce.record_change('set', NULL, NEW.id, NULL, changes);
	ELSIF changes IS NOT NULL AND TG_RELID = 'cauce.session'::regclass THEN
		PERFORM cauce.record_change('set', NEW.account_id, NEW.organization_id, NEW.id, changes);
	ELSIF changes IS NOT NULL THEN
		PERFORM cauce.record_change('set', NEW.id, coalesce(NEW.organization_id, OLD.organization_id), NULL, changes);
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION cauce.audit_settings() IS 'trigger: notes changes of the columns that it is given for the audit log';
CREATE TRIGGER cauce_audit AFTER UPDATE OF name, plan, admin_access, retention_days, retention_action ON cauce.organization
	FOR EACH ROW EXECUTE FUNCTION cauce.audit_settings('name', 'plan', 'admin_access', 'retention_days', 'retention_action');
CREATE TRIGGER cauce_audit AFTER UPDATE OF subject, organization_id, role, login_role, retention_days, retention_action ON cauce.account
	FOR EACH ROW EXECUTE FUNCTION cauce.audit_settings('subject', 'organization_id', 'role', 'login_role', 'retention_days', 'retention_action');
CREATE TRIGGER cauce_audit AFTER UPDATE OF retention_days ON cauce.session
	FOR EACH ROW EXECUTE FUNCTION cauce.audit_settings('retention_days');
-- ALWAYS, so that session_replication_role keeps nothing from the log; a logical replication worker adds nothing to it.
ALTER TABLE cauce.organization ENABLE ALWAYS TRIGGER cauce_audit;
ALTER TABLE cauce.account ENABLE ALWAYS TRIGGER cauce_audit;
ALTER TABLE cauce.session ENABLE ALWAYS TRIGGER cauce_audit, ENABLE ALWAYS TRIGGER cauce_audit_hold;
ALTER TABLE cauce.archived_session ENABLE ALWAYS TRIGGER cauce_audit_hold;

-- The server's settings and keys are files that no trigger watches: what they are now is compared with what was written last.
CREATE FUNCTION cauce.audit_server() RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	item record;
BEGIN
	FOR item IN
		SELECT w.name, CASE WHEN w.name = 'cauce.keyring_command' AND w.value <> '' OR octet_length(w.value) > 400 -- more than an entry holds
			THEN 'SHA-256 ' || encode(sha256(convert_to(w.value, 'UTF8')), 'hex') ELSE w.value END AS value
		FROM (
		SELECT name, reset_val FROM pg_settings WHERE name LIKE 'cauce.%' AND name <> 'cauce.pgcrypto_key'
		UNION ALL
		SELECT 'token keys', 'SHA-256 ' || encode(sha256(pg_read_binary_file(current_setting('cauce.token_keys_file'), 0, 1048576, true)), 'hex')
			WHERE current_setting('cauce.token_keys_file') <> ''
		UNION ALL
		SELECT 'master keys', string_agg(format('%s%s', number, CASE WHEN in_use THEN ' in use' WHEN retired THEN ' retired' ELSE '' END), ', ' ORDER BY number)
			FROM cauce.keyring_status() WHERE kind = 'master'
		UNION ALL
		SELECT 'epoch keys', format('%s from %s to %s', count(*), min(last_day), max(last_day))
			FROM cauce.keyring_status() WHERE kind = 'epoch'
		UNION ALL
		SELECT format('members of %s', r.rolname), string_agg(DISTINCT pg_get_userbyid(m.member), ', ' ORDER BY pg_get_userbyid(m.member))
			FROM pg_roles r LEFT JOIN pg_auth_members m ON m.roleid = r.oid
			WHERE r.rolname IN ('cauce_app', 'cauce_stream', 'cauce_operator', 'cauce_auditor', 'cauce_support') GROUP BY r.rolname
		UNION ALL
		-- No event trigger sees these: GRANT names no object, and ALTER EVENT TRIGGER sets none off.
		SELECT 'privileges', 'SHA-256 ' || encode(sha256(convert_to(string_agg(acl, ' ' ORDER BY acl COLLATE "C"), 'UTF8')), 'hex')
			FROM (SELECT concat(relname, relacl) FROM pg_class WHERE relnamespace = 'cauce'::regnamespace
				UNION ALL SELECT concat(attrelid::regclass, attname, attacl) FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid IN (
					SELECT oid FROM pg_class WHERE relnamespace = 'cauce'::regnamespace)
				UNION ALL SELECT concat(oid::regprocedure, proacl) FROM pg_proc WHERE pronamespace = 'cauce'::regnamespace
				UNION ALL SELECT concat(nspname, nspacl) FROM pg_namespace WHERE nspname = 'cauce') p (acl)
		UNION ALL
		SELECT 'guards', 'as of transaction ' || string_agg(DISTINCT x, ', ' ORDER BY x)
			FROM (SELECT xmin::text FROM pg_event_trigger WHERE evtname IN ('cauce_altered', 'cauce_dropped')
				UNION ALL SELECT xmin::text FROM pg_trigger WHERE tgname IN ('cauce_append_only', 'cauce_audit', 'cauce_audit_hold')) g (x)
		) w (name, value)
		ORDER BY 1
	LOOP
		IF format('%s: %s', item.name, coalesce(item.value, 'none')) IS DISTINCT FROM (
			SELECT l.reason FROM cauce.audit_log l
			WHERE l.account_id = '00000000-0000-0000-0000-000000000000' AND l.chain = l.account_id
				AND l.action = 'server' AND starts_with(l.reason, item.name || ': ')
			ORDER BY l.at DESC LIMIT 1) THEN
			PERFORM cauce.record_change('server', NULL, NULL, NULL, format('%s: %s', item.name, coalesce(item.value, 'none')));
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION cauce.audit_server() IS
	'writes to the audit log which of the server''s cauce settings, token keys and keyring keys are not as they were; by the background worker; cauce''s own';

-- Whoever alters what is cauce's, the guards of the audit log for instance, shows in it.
CREATE FUNCTION cauce.audit_ddl() RETURNS event_trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	object text;
BEGIN
	IF TG_EVENT = 'sql_drop' THEN
		FOR object IN SELECT object_identity FROM pg_event_trigger_dropped_objects()
				WHERE original AND (schema_name = 'cauce' OR object_identity LIKE '% on cauce.%') LOOP
			PERFORM cauce.record_change('alter', NULL, NULL, NULL, format('%s: %s', TG_TAG, object));
		END LOOP;
	ELSE
		FOR object IN SELECT DISTINCT object_identity FROM pg_event_trigger_ddl_commands()
				WHERE NOT in_extension AND (schema_name = 'cauce' OR object_identity LIKE '% on cauce.%') LOOP
			PERFORM cauce.record_change('alter', NULL, NULL, NULL, format('%s: %s', TG_TAG, object));
		END LOOP;
	END IF;
EXCEPTION
	-- A dump is restored before there is a keyring; what cannot be signed is in the server log.
	WHEN object_not_in_prerequisite_state THEN
		RAISE WARNING '% of an object in schema cauce is not in the audit log', TG_TAG
			USING DETAIL = SQLERRM;
END
$$;
COMMENT ON FUNCTION cauce.audit_ddl() IS 'event trigger: notes for the audit log who alters or drops what is cauce''s';

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

CREATE FUNCTION cauce.delete_my_data(confirm_subject text) RETURNS uuid
	AS 'MODULE_PATHNAME', 'cauce_delete_my_data' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.delete_my_data(text) IS
	'erases my account and everything it has, for good; confirm_subject repeats the token''s sub. The id of the one certificate. Raises 22023 for another subject, 55006 when a session is under legal hold; nothing has changed then';

CREATE FUNCTION cauce.erase_again(account_id uuid, session_id uuid) RETURNS boolean
	AS 'MODULE_PATHNAME', 'cauce_erase_again' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.erase_again(uuid, uuid) IS
	'erases a session, live or archived, or with NULL the account, for a certificate that has outlived a backup; whether there was anything; cauce''s own';

CREATE FUNCTION cauce.reapply_erasures(certificates text[]) RETURNS TABLE (certificate uuid, subject text, outcome text)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	jws text;
	payload jsonb;
	key record;
	found integer;
	erased integer;
BEGIN
	FOREACH jws IN ARRAY certificates LOOP
		payload := cauce.open_certificate(jws);
		certificate := (payload->>'jti')::uuid;
		subject := payload->>'subject';
		found := 0;
		erased := 0;
		IF payload IS NULL THEN
			outcome := 'not signed by this keyring';
		ELSIF subject NOT IN ('session', 'archive', 'account') THEN
			outcome := 'names no key: its rows are not known';
		ELSE
			BEGIN
				-- An account's own key first: with it everything goes at once, under one certificate.
				FOR key IN SELECT DISTINCT k.account_id, k.session_id FROM cauce.data_key k
						WHERE k.id IN (SELECT e::uuid FROM jsonb_array_elements_text(payload->'keys') e)
						ORDER BY k.account_id, k.session_id NULLS FIRST LOOP
					found := found + 1;
					CONTINUE WHEN key.session_id IS NULL AND subject <> 'account';
					IF key.session_id IS NULL AND NOT EXISTS (SELECT FROM cauce.account a WHERE a.id = key.account_id) THEN
						CONTINUE;
					END IF;
					erased := erased + cauce.erase_again(key.account_id, key.session_id)::integer;
				END LOOP;
				outcome := CASE WHEN erased > 0 THEN 'erased' WHEN found > 0 THEN 'keys without rows' ELSE 'nothing left' END;
			EXCEPTION
				WHEN object_in_use THEN
					outcome := 'under legal hold';
			END;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION cauce.reapply_erasures(text[]) IS
	'erases again, in a database that was restored from a backup, what the given certificates (jws) say was erased since; what came of each. Only what this keyring has signed counts';

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

CREATE FUNCTION cauce.set_legal_hold(account_id uuid, session_id uuid, reason text) RETURNS void
	AS 'MODULE_PATHNAME', 'cauce_set_legal_hold' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.set_legal_hold(uuid, uuid, text) IS
	'keeps a session from being erased, archived or rewritten, by its owner or by retention (55006); the owner sees it, and the reason, in my_access_log; an archived one from being erased or restored. P0002 when there is no such session, 22023 without a reason';
CREATE FUNCTION cauce.release_legal_hold(account_id uuid, session_id uuid, reason text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'cauce_release_legal_hold' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.release_legal_hold(uuid, uuid, text) IS 'ends a legal hold; retention and owner take over again';

CREATE FUNCTION cauce.open_archive(account_id uuid, id uuid, bundle bytea) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'cauce_open_archive' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION cauce.open_archive(uuid, uuid, bytea) IS
	'what a row of archived_session holds, without restoring it; a bundle that is NULL is looked for, in the row and in storage (58030 when that fails). Needs the identity that may open it (28000, 42501). XX001 when damaged';

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

CREATE FUNCTION cauce.clock_held_until() RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'cauce_clock_held_until' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.clock_held_until() IS
	'NULL, or when a clock that has jumped will be trusted (infinity on a standby, which follows its primary): nothing is archived, erased or destroyed before';

CREATE FUNCTION cauce.confirm_clock() RETURNS timestamptz
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	now timestamptz;
BEGIN
	PERFORM cauce.clock_held_until(); -- a jump that nobody has noticed yet is noticed now, and not after this
	now := clock_timestamp();
	INSERT INTO cauce.clock (seen_at) VALUES (now) ON CONFLICT (one) DO UPDATE SET seen_at = excluded.seen_at;
	PERFORM cauce.wake_launcher();
	RETURN now;
END
$$;
COMMENT ON FUNCTION cauce.confirm_clock() IS
	'says that the clock is right, and gives what it shows: what is due by it in this database is archived, erased and destroyed';

CREATE FUNCTION cauce.no_worker_since() RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'cauce_no_worker_since' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.no_worker_since() IS
	'since when the launcher has found no background worker slot for one database or another; NULL when each had its visit';

CREATE FUNCTION cauce.schedule_elsewhere(cron text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'cauce_schedule_elsewhere' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.schedule_elsewhere(text) IS
	'has pg_cron, in the database that it lives in, run retention in this one, or with NULL no more; outlives a rollback; cauce''s own';

CREATE FUNCTION cauce.cron_is_here() RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	-- Only what CREATE EXTENSION pg_cron made: anybody might call a schema cron.
	SELECT EXISTS (SELECT 1 FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
		WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'pg_cron'
		AND d.classid = 'pg_proc'::regclass
		AND d.objid = to_regprocedure('cron.schedule(text, text, text)'))
$$;
COMMENT ON FUNCTION cauce.cron_is_here() IS 'whether pg_cron lives in this database; cauce''s own';

CREATE FUNCTION cauce.schedule_retention(cron text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	job bigint;
BEGIN
	IF cron IS NULL THEN
		RAISE EXCEPTION 'no schedule is given' USING ERRCODE = '22004', HINT = 'Like ''17 3 * * *''; unschedule_retention() ends it.';
	END IF;
	IF NOT cauce.cron_is_here() THEN
		RETURN cauce.schedule_elsewhere(cron);
	END IF;
	EXECUTE 'SELECT cron.schedule(''cauce-retention'', $1, ''SELECT cauce.run_retention()'')'
		INTO job USING cron;
	RETURN job;
END
$$;
COMMENT ON FUNCTION cauce.schedule_retention(text) IS
	'runs retention in this database by pg_cron at such times (cron syntax, GMT) beside the worker, wherever on this server pg_cron lives; the job''s id. Raises 55000 where there is none';

CREATE FUNCTION cauce.unschedule_retention() RETURNS boolean
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	done boolean := false;
BEGIN
	IF NOT cauce.cron_is_here() THEN
		RETURN cauce.schedule_elsewhere(NULL) > 0;
	END IF;
	EXECUTE 'SELECT coalesce(bool_or(cron.unschedule(jobid)), false) FROM cron.job WHERE jobname = ''cauce-retention'''
		INTO done;
	RETURN done;
END
$$;
COMMENT ON FUNCTION cauce.unschedule_retention() IS 'ends what schedule_retention() began; whether there was anything. Raises 55000 where there is no pg_cron';

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
	AS 'MODULE_PATHNAME', 'cauce_is_sealed_type' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.is_sealed_type(oid) IS 'whether a type is a sealed one, a domain over one or an array of one';

CREATE FUNCTION cauce.reseal_statements(of_sessions boolean, OUT owner oid, OUT look text, OUT read text, OUT write text)
	RETURNS SETOF record
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	WITH sealed AS (
		SELECT c.oid, c.relowner, format('%I.%I', n.nspname, c.relname) AS name,
			CASE WHEN of_sessions
				THEN format('%I = $1 AND %I = $2', coalesce(f.account_column, 'account_id'), coalesce(f.session_column,
					convert_from(substr(t.tgargs, 1, position('\x00'::bytea IN t.tgargs) - 1), getdatabaseencoding())::name))
				ELSE 'id = $1' END AS condition,
			array_agg(quote_ident(a.attname) ORDER BY a.attnum) AS columns
		FROM pg_trigger t
		JOIN pg_class c ON c.oid = t.tgrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		-- As the trigger itself finds them: by the foreign key, or else by its argument.
		LEFT JOIN LATERAL (
			SELECT o.attname AS account_column, s.attname AS session_column
			FROM pg_constraint k
			JOIN pg_attribute o ON o.attrelid = k.conrelid AND o.attnum = k.conkey[array_position(k.confkey, 1::smallint)]
			JOIN pg_attribute s ON s.attrelid = k.conrelid AND s.attnum = k.conkey[array_position(k.confkey, 2::smallint)]
			WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid = 'cauce.session'::regclass
			LIMIT 1) f ON true
		WHERE t.tgfoid = 'cauce.seal_row'::regproc AND t.tgparentid = 0 AND (t.tgnargs > 0) = of_sessions
			AND c.relpersistence <> 't'
			AND cauce.is_sealed_type(a.atttypid)
		GROUP BY t.oid, c.oid, n.nspname, f.account_column, f.session_column
		UNION ALL
		SELECT c.oid, c.relowner, 'cauce.archived_session', 'account_id = $1 AND id = $2', ARRAY['bundle']
		FROM pg_class c
		WHERE of_sessions AND c.oid = 'cauce.archived_session'::regclass)
	SELECT relowner,
		format('SELECT tableoid, ctid, %s FROM %s WHERE %s', array_to_string(columns, ', '), name, condition),
		format('SELECT tableoid, ctid, %s FROM %s WHERE %s FOR NO KEY UPDATE SKIP LOCKED', array_to_string(columns, ', '), name, condition),
		format('UPDATE %s SET %s WHERE tableoid = $1 AND ctid = $2', name,
			(SELECT string_agg(format('%s = $%s', c, i + 2), ', ') FROM unnest(columns) WITH ORDINALITY AS u (c, i)))
	FROM sealed
	ORDER BY name
$$;
COMMENT ON FUNCTION cauce.reseal_statements(boolean) IS
	'for each table that binds sealed values to sessions (or, with false, to accounts): its owner, and the statements that look at, hold and write what lies under the key of account $1 and session $2; cauce''s own';

CREATE FUNCTION cauce.wake_launcher() RETURNS void
	AS 'MODULE_PATHNAME', 'cauce_wake_launcher' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.wake_launcher() IS 'the background worker visits every database once this transaction has committed; cauce''s own';

CREATE FUNCTION cauce.store_archives() RETURNS void
	LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT cauce.wake_launcher();
END;
COMMENT ON FUNCTION cauce.store_archives() IS
	'has the background worker hand archives over to storage now, once this transaction has committed; storage_status says how it goes';

CREATE FUNCTION cauce.rotate_data_keys(account_id uuid DEFAULT NULL, older_than interval DEFAULT '0') RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	before CONSTANT timestamptz := clock_timestamp() - older_than;
	rotation bigint;
BEGIN
	IF older_than IS NULL OR older_than < interval '0' THEN
		RAISE EXCEPTION 'older_than must not be negative or NULL'
			USING ERRCODE = '22023', HINT = 'It is the age from which keys are renewed.';
	END IF;
	IF NOT EXISTS (SELECT 1 FROM cauce.data_key k WHERE k.account_id = rotate_data_keys.account_id) AND rotate_data_keys.account_id IS NOT NULL THEN
		RAISE EXCEPTION 'no such account has keys'
			USING ERRCODE = '22023', DETAIL = format('It is %s.', rotate_data_keys.account_id), HINT = 'NULL stands for all.';
	END IF;
	INSERT INTO cauce.key_rotation (account_id, made_before, keys)
	SELECT rotate_data_keys.account_id, before, count(*)
	FROM cauce.data_key k
	WHERE k.superseded_at IS NULL AND k.created_at < before
		AND (rotate_data_keys.account_id IS NULL OR k.account_id = rotate_data_keys.account_id)
	RETURNING id INTO rotation;
	PERFORM cauce.record_change('key', rotate_data_keys.account_id, NULL, NULL, format('rotation %s of data keys', rotation));
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
-- Adoption. An application's table becomes one of cauce's: its rows belong to sessions, its columns are
-- sealed. Only superusers adopt; nothing here is SECURITY DEFINER, and nothing is granted.
--

CREATE FUNCTION cauce.seal_plain(value "any", sample anyelement) RETURNS anyelement
	AS 'MODULE_PATHNAME', 'cauce_seal_plain' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION cauce.seal_plain("any", anyelement) IS
	'seals a value as one of sample''s type, whatever it looks like; cauce''s own';
CREATE FUNCTION cauce.seal_ahead() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_seal_ahead' LANGUAGE C;
COMMENT ON FUNCTION cauce.seal_ahead() IS
	'trigger: keeps sealed columns in step with the plain ones that they are to replace; arguments: the session''s column, then pairs';
CREATE FUNCTION cauce.hold_row() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cauce_hold_row' LANGUAGE C;
COMMENT ON FUNCTION cauce.hold_row() IS
	'trigger: raises 55006 when a protected row of a session under legal hold is deleted or rewritten';
CREATE FUNCTION cauce.pgcrypto_key() RETURNS text
	AS 'MODULE_PATHNAME', 'cauce_pgcrypto_key' LANGUAGE C STABLE;
COMMENT ON FUNCTION cauce.pgcrypto_key() IS 'the key in cauce.pgcrypto_key; cauce''s own';

CREATE FUNCTION cauce.from_pgcrypto(value bytea, method text) RETURNS text
	LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	home CONSTANT regnamespace := (SELECT extnamespace FROM pg_extension WHERE extname = 'pgcrypto');
	key CONSTANT text := cauce.pgcrypto_key();
	opened text;
BEGIN
	IF method = 'pgp_sym_encrypt' THEN
		EXECUTE format('SELECT %s.pgp_sym_decrypt($1, $2)', home) INTO opened USING value, key;
	ELSE
		EXECUTE format('SELECT convert_from(%s.decrypt($1, $2::bytea, $3), ''UTF8'')', home)
			INTO opened USING value, key, substr(method, length('encrypt-') + 1);
	END IF;
	RETURN opened;
EXCEPTION
	-- What pgcrypto and the encoding say may show bytes of the content.
	WHEN OTHERS THEN
		RAISE EXCEPTION 'a value does not decrypt to text with cauce.pgcrypto_key'
			USING ERRCODE = '39000', DETAIL = format('Method %s; SQLSTATE %s.', method, SQLSTATE),
				HINT = 'Is it this key, and this method? What was encrypted from bytea is adopted as bytea: decrypt it into such a column first.';
END
$$;
COMMENT ON FUNCTION cauce.from_pgcrypto(bytea, text) IS
	'what pgcrypto encrypted, as text; method is pgp_sym_encrypt, or encrypt- and the type, as in encrypt-aes; cauce''s own';

-- The table itself, and its partitions if it has any.
CREATE FUNCTION cauce.parts_of("table" regclass) RETURNS SETOF regclass
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT "table" UNION SELECT t.relid FROM pg_catalog.pg_partition_tree("table") t;
END;
COMMENT ON FUNCTION cauce.parts_of(regclass) IS 'a table and its partitions; cauce''s own';

CREATE FUNCTION cauce.require_superuser() RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
		RAISE EXCEPTION 'permission denied to adopt a table'
			USING ERRCODE = '42501', HINT = 'It changes owners'' rights to their rows: a superuser does it.';
	END IF;
END
$$;
COMMENT ON FUNCTION cauce.require_superuser() IS 'raises 42501 for anybody else; cauce''s own';

CREATE FUNCTION cauce.check_adoptable("table" regclass, session_column name) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c CONSTANT pg_class := (SELECT r FROM pg_class r WHERE r.oid = "table");
	problem text;
	named name;
BEGIN
	IF c.oid IS NULL OR session_column IS NULL THEN
		RAISE EXCEPTION 'there is no such table, or no column is named' USING ERRCODE = '22004';
	END IF;
	IF EXISTS (SELECT 1 FROM cauce.protected_table p WHERE p."table" = c.oid) THEN
		RAISE EXCEPTION '"%" is protected already, or being adopted', c.relname
			USING ERRCODE = '42710', HINT = 'cauce.protected_table says which; CALL cauce.protect_gradually() goes on, cauce.unprotect() undoes it.';
	END IF;
	problem := CASE
		WHEN c.oid < 16384 OR c.relnamespace = 'cauce'::regnamespace
			OR c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)
			OR EXISTS (SELECT 1 FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
			THEN 'It belongs to the system or to an extension.'
		WHEN c.relkind NOT IN ('r', 'p') THEN 'It is not a table.'
		WHEN c.relpersistence <> 'p' THEN 'It is temporary or unlogged.'
		WHEN c.relispartition THEN 'It is a partition.'
		WHEN EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = c.oid OR (inhparent = c.oid AND c.relkind = 'r'))
			THEN 'It inherits or is inherited from.'
		WHEN EXISTS (SELECT 1 FROM cauce.parts_of("table") p JOIN pg_class f ON f.oid = p AND f.relkind = 'f')
			THEN 'It has a foreign table as a partition.'
		WHEN EXISTS (SELECT 1 FROM cauce.parts_of("table") p JOIN pg_trigger t ON t.tgrelid = p AND NOT t.tgisinternal AND t.tgenabled IN ('A', 'R'))
			OR EXISTS (SELECT 1 FROM cauce.parts_of("table") p JOIN pg_rewrite w ON w.ev_class = p)
			THEN 'It has a rule, or a trigger that fires always or on replicas: adopting its rows would set them off.'
		WHEN NOT EXISTS (SELECT 1 FROM pg_index WHERE indrelid = c.oid AND indisprimary)
			THEN 'It has no primary key, to which sealed values are bound.'
	END;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION '"%" cannot be protected', c.relname
			USING ERRCODE = '42809', DETAIL = problem,
				HINT = 'Ordinary and partitioned tables with a primary key can, partitions with the table above them.';
	END IF;
	FOREACH named IN ARRAY ARRAY['account_id', session_column] LOOP
		SELECT format('It is of type %s.', format_type(a.atttypid, a.atttypmod)) INTO problem
			FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = named AND a.attnum > 0 AND a.atttypid <> 'uuid'::regtype;
		IF FOUND THEN
			RAISE EXCEPTION 'column "%" of table "%" cannot say whose a row is', named, c.relname
				USING ERRCODE = '42804', DETAIL = problem, HINT = 'Accounts and sessions are named by a uuid.';
		END IF;
	END LOOP;
	IF session_column = 'account_id'
		OR NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = c.oid AND attname = session_column AND attnum > 0) THEN
		RAISE EXCEPTION 'table "%" has no column "%" that could name a session', c.relname, session_column
			USING ERRCODE = '42703';
	END IF;
END
$$;
COMMENT ON FUNCTION cauce.check_adoptable(regclass, name) IS 'raises what keeps a table from being protected; cauce''s own';

CREATE FUNCTION cauce.sealed_type("table" regclass, "column" name, pgcrypto text) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a CONSTANT pg_attribute := (SELECT r FROM pg_attribute r WHERE r.attrelid = "table" AND r.attname = "column"
								AND r.attnum > 0 AND NOT r.attisdropped);
	users text;
	type text;
BEGIN
	IF a.attname IS NULL THEN
		RAISE EXCEPTION 'table % has no column "%"', "table", "column" USING ERRCODE = '42703';
	END IF;
	IF length("column"::text || '$cauce') > 63 OR octet_length("column"::text || '$cauce') > 63 THEN
		RAISE EXCEPTION 'the name of column "%" is too long', "column" USING ERRCODE = '42622', DETAIL = 'It has more than 57 bytes.';
	END IF;
	SELECT CASE
			WHEN e.oid IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN 'cauce.encrypted_text'
			WHEN e.oid IN ('json'::regtype, 'jsonb'::regtype) THEN 'cauce.encrypted_jsonb'
			WHEN e.oid = 'bytea'::regtype AND (pgcrypto IS NULL OR a.atttypid <> e.oid) THEN 'cauce.encrypted_bytea'
			WHEN e.oid = 'bytea'::regtype THEN 'cauce.encrypted_text'
		END || CASE WHEN a.atttypid <> e.oid THEN '[]' ELSE '' END INTO type
		FROM pg_type t JOIN pg_type e ON e.oid = CASE t.typcategory WHEN 'A' THEN t.typelem ELSE t.oid END
		WHERE t.oid = a.atttypid;
	IF type IS NULL THEN
		RAISE EXCEPTION 'column "%" of table % cannot be sealed', "column", "table"
			USING ERRCODE = '42804', DETAIL = format('It is of type %s.', format_type(a.atttypid, a.atttypmod)),
				HINT = 'text, varchar, char, json, jsonb, bytea and arrays of these can be sealed.';
	END IF;
	-- Whatever uses the column would break, or keep what it held: an index, a view, a check, statistics.
	SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid), ', ') INTO users
		FROM cauce.parts_of("table") p
		JOIN pg_attribute c ON c.attrelid = p AND c.attname = "column"
		JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = p AND d.refobjsubid = c.attnum
		WHERE (c.attgenerated <> '' OR NOT EXISTS (SELECT 1 FROM pg_attrdef f WHERE d.classid = 'pg_attrdef'::regclass
			AND f.oid = d.objid AND f.adrelid = p AND f.adnum = c.attnum))
			-- PostgreSQL 18 has a constraint for NOT NULL, which stays.
			AND NOT EXISTS (SELECT 1 FROM pg_constraint n WHERE d.classid = 'pg_constraint'::regclass AND n.oid = d.objid AND n.contype = 'n');
	IF users IS NOT NULL THEN
		RAISE EXCEPTION 'column "%" of table % cannot be sealed while it is used', "column", "table"
			USING ERRCODE = '2BP01', DETAIL = format('It is used by: %s.', users),
				HINT = 'Drop these first. What they did with content has to be done by whoever may open it.';
	END IF;
	RETURN type;
END
$$;
COMMENT ON FUNCTION cauce.sealed_type(regclass, name, text) IS 'the type that a column is sealed as, or what keeps it from that; cauce''s own';

CREATE FUNCTION cauce.check_sessions("table" regclass, session_column name) RETURNS bigint
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	account CONSTANT text := CASE WHEN EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = "table" AND attname = 'account_id')
		THEN 't.account_id' ELSE 'NULL::uuid' END;
	total bigint;
	astray bigint;
	twofold bigint;
BEGIN
	EXECUTE format('SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT 1 FROM cauce.session s
			WHERE s.id = t.%1$I AND s.account_id = coalesce(%2$s, s.account_id))),
		count(*) FILTER (WHERE %2$s IS NULL AND t.%1$I IN (SELECT s.id FROM cauce.session s GROUP BY s.id HAVING count(*) > 1))
		FROM %3$s t', session_column, account, "table") INTO total, astray, twofold;
	IF astray > 0 OR twofold > 0 THEN
		RAISE EXCEPTION '% of the % rows of table % belong to no one session', astray + twofold, total, "table"
			USING ERRCODE = '23503',
				DETAIL = format('Column "%s" of %s rows is NULL or names no session of the row''s account; of %s rows it names sessions of several accounts.',
					session_column, astray, twofold),
				HINT = 'Insert the sessions into cauce.session first, fill account_id yourself, or remove the rows.';
	END IF;
	RETURN total;
END
$$;
COMMENT ON FUNCTION cauce.check_sessions(regclass, name) IS 'counts a table''s rows; raises 23503 unless each belongs to one session; cauce''s own';

-- What makes a table one of cauce's, once its rows are bound: as cauce.report has it.
CREATE FUNCTION cauce.guard("table" regclass, session_column name) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	part regclass;
	readable text;
BEGIN
	EXECUTE format('ALTER TABLE %s ALTER COLUMN account_id SET NOT NULL, ALTER COLUMN account_id SET DEFAULT cauce.account_id(),
		ALTER COLUMN %I SET NOT NULL', "table", session_column);
	IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conrelid = "table" AND conname = 'cauce_session') THEN
		-- No cascade: it would run triggers of the table as whoever deletes the session. Erasure deletes its rows itself.
		EXECUTE format('ALTER TABLE %s ADD CONSTRAINT cauce_session FOREIGN KEY (account_id, %I)
			REFERENCES cauce.session (account_id, id)', "table", session_column);
	END IF;
	PERFORM cauce.index_sessions("table", session_column);
	EXECUTE format('CREATE TRIGGER cauce_hold BEFORE UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION cauce.hold_row()', "table");
	FOR part IN SELECT * FROM cauce.parts_of("table") LOOP
		EXECUTE format('CREATE TRIGGER cauce_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION cauce.refuse_truncate()', part);
		readable := format('account_id = ANY ((SELECT cauce.readable_account_ids())::uuid[])
			AND cauce.session_is_readable(account_id, %I)', session_column);
		EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', part);
		EXECUTE format('CREATE POLICY cauce_mine ON %s TO cauce_app USING (%s) WITH CHECK (account_id = (SELECT cauce.account_id()))', part, readable);
		-- Whatever other policies the table has, they give nothing beyond this one.
		EXECUTE format('CREATE POLICY cauce_only ON %s AS RESTRICTIVE USING (%s) WITH CHECK (account_id = (SELECT cauce.account_id()))', part, readable);
		EXECUTE format('CREATE POLICY cauce_owner_updates ON %s AS RESTRICTIVE FOR UPDATE USING (account_id = (SELECT cauce.account_id()))', part);
		EXECUTE format('CREATE POLICY cauce_owner_deletes ON %s AS RESTRICTIVE FOR DELETE USING (account_id = (SELECT cauce.account_id()))', part);
	END LOOP;
END
$$;
COMMENT ON FUNCTION cauce.guard(regclass, name) IS 'adds the foreign key, the index, the policies and the triggers of a protected table; cauce''s own';

CREATE FUNCTION cauce.index_sessions("table" regclass, session_column name) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (
		SELECT 1 FROM pg_index i
		WHERE i.indrelid = "table" AND i.indisvalid AND i.indpred IS NULL AND i.indnkeyatts >= 2
			AND ARRAY[i.indkey[0], i.indkey[1]] @> (
				SELECT array_agg(a.attnum) FROM pg_attribute a WHERE a.attrelid = "table" AND a.attname IN ('account_id', session_column))) THEN
		EXECUTE format('CREATE INDEX ON %s (account_id, %I)', "table", session_column);
	END IF;
END
$$;
COMMENT ON FUNCTION cauce.index_sessions(regclass, name) IS 'an index on account and session, unless one serves; cauce''s own';

CREATE FUNCTION cauce.seal_trigger("table" regclass, session_column name, fires text, VARIADIC more text[] DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- The last of the BEFORE triggers, whose names order them: what another writes into the row is sealed, too.
	EXECUTE format('CREATE TRIGGER zz_cauce_seal BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION cauce.seal_row(%s)',
		"table", (SELECT string_agg(quote_literal(n), ', ' ORDER BY o) FROM unnest(session_column::text || more) WITH ORDINALITY u (n, o)));
	EXECUTE format('ALTER TABLE %s ENABLE %s TRIGGER zz_cauce_seal', "table", fires);
END
$$;
COMMENT ON FUNCTION cauce.seal_trigger(regclass, name, text, text[]) IS 'the sealing trigger of a protected table, which fires ALWAYS or, by default, at its origin; cauce''s own';

CREATE FUNCTION cauce.write_quietly(statement text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	before CONSTANT text := current_setting('session_replication_role');
	done bigint;
BEGIN
	PERFORM set_config('session_replication_role', 'replica', true);
	EXECUTE statement;
	GET DIAGNOSTICS done = ROW_COUNT;
	PERFORM set_config('session_replication_role', before, true);
	RETURN done;
END
$$;
COMMENT ON FUNCTION cauce.write_quietly(text) IS
	'runs a statement that sets off triggers that fire ALWAYS and no other: nothing changes that the application knows of; rows written; cauce''s own';

CREATE FUNCTION cauce.bind_rows("table" regclass, session_column name, rows text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- It waits for nobody, and so is nobody's deadlock: what a writer has locked is left for later.
	RETURN cauce.write_quietly(format('WITH free AS MATERIALIZED (SELECT t.ctid AS at FROM ONLY %1$s t WHERE %3$s FOR NO KEY UPDATE SKIP LOCKED)
		UPDATE ONLY %1$s t SET account_id = s.account_id FROM cauce.session s, free
		WHERE t.ctid = free.at AND s.id = t.%2$I AND s.account_id = coalesce(t.account_id, s.account_id) AND %3$s',
		"table", session_column, rows));
END
$$;
COMMENT ON FUNCTION cauce.bind_rows(regclass, name, text) IS
	'writes rows anew, whose sealing trigger fires ALWAYS, each with the account of its session; how many; cauce''s own';

CREATE FUNCTION cauce.protect("table" regclass, session_column name, encrypt name[] DEFAULT '{}', pgcrypto text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	actions text[] := '{}';
	"column" name;
	type text;
	part regclass;
	total bigint;
BEGIN
	PERFORM cauce.require_superuser();
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'a table is adopted in READ COMMITTED only'
			USING ERRCODE = '25001', DETAIL = 'Another snapshot may not show all of its rows.';
	END IF;
	PERFORM cauce.check_adoptable("table", session_column);
	IF pgcrypto <> 'pgp_sym_encrypt' AND pgcrypto NOT LIKE 'encrypt-_%' THEN
		RAISE EXCEPTION 'pgcrypto has no method "%" that can be undone', pgcrypto
			USING ERRCODE = '22023', HINT = 'Say pgp_sym_encrypt, or encrypt- and the type, as in encrypt-aes.';
	END IF;
	-- Sessions first: whoever writes a session and then its rows must not meet us half-way.
	LOCK TABLE cauce.session IN SHARE ROW EXCLUSIVE MODE;
	EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', "table");
	FOREACH "column" IN ARRAY coalesce(encrypt, '{}') LOOP
		type := cauce.sealed_type("table", "column", pgcrypto);
		actions := actions || (SELECT format('ALTER COLUMN %I TYPE %s USING cauce.seal_plain(%s, NULL::%s)', "column", type,
				CASE WHEN a.atttypid = 'bytea'::regtype AND pgcrypto IS NOT NULL THEN format('cauce.from_pgcrypto(%I, %L)', "column", pgcrypto)
					 ELSE format('%I', "column") END, type)
			FROM pg_attribute a WHERE a.attrelid = "table" AND a.attname = "column");
	END LOOP;
	total := cauce.check_sessions("table", session_column);
	IF NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = "table" AND attname = 'account_id') THEN
		actions := actions || text 'ADD COLUMN account_id uuid';
	END IF;
	IF actions <> '{}' THEN
		EXECUTE format('ALTER TABLE %s %s', "table", array_to_string(actions, ', '));
	END IF;
	-- The rewritten rows are sealed at input; now each is bound to its place, under its session's key.
	PERFORM cauce.seal_trigger("table", session_column, 'ALWAYS');
	FOR part IN SELECT p FROM cauce.parts_of("table") p JOIN pg_class c ON c.oid = p AND c.relkind = 'r' LOOP
		total := total - cauce.bind_rows(part, session_column, 'true');
	END LOOP;
	IF total <> 0 THEN
		RAISE EXCEPTION 'not every row of table % could be bound to its session', "table" USING ERRCODE = '55000';
	END IF;
	EXECUTE format('ALTER TABLE %s ENABLE TRIGGER zz_cauce_seal', "table");
	PERFORM cauce.guard("table", session_column);
	RAISE NOTICE 'table % is protected', "table"
		USING HINT = 'What was in the clear before may still be in the WAL, in backups, in replicas'' files and in dead rows of pg_statistic: docs/adoption.md.';
END
$$;
COMMENT ON FUNCTION cauce.protect(regclass, name, name[], text) IS
	'makes an application''s table part of sessions: row-level security, legal hold, erasure with the session that session_column names, and sealed columns in place of those to encrypt; pgcrypto: how bytea columns among them were encrypted (pgp_sym_encrypt, encrypt-aes, …) with the key in cauce.pgcrypto_key';

CREATE FUNCTION cauce.rebind("table" regclass, former_schema name DEFAULT NULL, former_table name DEFAULT NULL,
	"column" name DEFAULT NULL, former_column name DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p cauce.protected_table;
	part regclass;
	done bigint := 0;
BEGIN
	PERFORM cauce.require_superuser();
	SELECT * INTO p FROM cauce.protected_table t WHERE t."table" = rebind."table" AND NOT t.adopting;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table % is not protected', "table" USING ERRCODE = '42704', HINT = 'cauce.protected_table lists those that are.';
	END IF;
	IF ("column" IS NULL) <> (former_column IS NULL) OR "column" IS NOT NULL
		AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rebind."table" AND a.attname = rebind."column" AND a.attnum > 0) THEN
		RAISE EXCEPTION 'no column is named, or not what it was called before' USING ERRCODE = '22023';
	END IF;
	EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', "table");
	EXECUTE format('DROP TRIGGER zz_cauce_seal ON %s', "table");
	PERFORM cauce.seal_trigger("table", p.session_column, 'ALWAYS', VARIADIC (SELECT ARRAY['rebinding', coalesce(former_schema, n.nspname),
			coalesce(former_table, c.relname), coalesce("column", ''), coalesce(former_column, '')]::text[]
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = "table"));
	FOR part IN SELECT t FROM cauce.parts_of("table") t JOIN pg_class c ON c.oid = t AND c.relkind = 'r' LOOP
		done := done + cauce.write_quietly(format('UPDATE ONLY %1$s SET %2$I = %2$I', part, p.session_column));
	END LOOP;
	EXECUTE format('DROP TRIGGER zz_cauce_seal ON %s', "table");
	PERFORM cauce.seal_trigger("table", p.session_column, '');
	INSERT INTO cauce.former_name (former_schema, former_table, former_column, "schema", "table", "column")
		SELECT coalesce(former_schema, n.nspname), coalesce(rebind.former_table, c.relname), rebind.former_column, n.nspname, c.relname, rebind."column"
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rebind."table";
	RETURN done;
END
$$;
COMMENT ON FUNCTION cauce.rebind(regclass, name, name, name, name) IS
	'after a protected table, its schema or a column was renamed: binds what was bound to the former names to those of now, and has archives from before restored under them; anything else that is out of place raises 42501, and nothing changes; rows written';

CREATE FUNCTION cauce.unprotect("table" regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p cauce.protected_table;
	part regclass;
	c record;
	name text;
BEGIN
	PERFORM cauce.require_superuser();
	SELECT * INTO p FROM cauce.protected_table t WHERE t."table" = unprotect."table";
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table % is not protected', "table"
			USING ERRCODE = '42704', HINT = 'cauce.protected_table lists those that are.';
	END IF;
	LOCK TABLE cauce.session IN ACCESS EXCLUSIVE MODE;
	EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', "table");
	IF p.adopting THEN
		PERFORM cauce.adopt_abandon("table");
	ELSE
		FOR name IN SELECT tgname FROM pg_trigger WHERE tgrelid = "table" AND tgfoid IN ('cauce.seal_row()'::regprocedure, 'cauce.hold_row()'::regprocedure) LOOP
			EXECUTE format('DROP TRIGGER %I ON %s', name, "table");
		END LOOP;
		FOR c IN SELECT a.attname, replace(format_type(a.atttypid, -1), 'cauce.encrypted_', '') AS type,
					regexp_replace(pg_get_expr(d.adbin, d.adrelid), '^cauce\.encrypted_\w+\((.*)\)$|^\((.*)\)::cauce\.encrypted_\w+$', '\1\2') AS value
				FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
				WHERE a.attrelid = "table" AND a.attname = ANY (p.sealed_columns) LOOP
			EXECUTE format('ALTER TABLE %1$s ALTER COLUMN %2$I DROP DEFAULT, ALTER COLUMN %2$I TYPE %3$s USING %2$I::%3$s',
				"table", c.attname, c.type);
			IF c.value NOT LIKE '%cauce.%' THEN
				EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', "table", c.attname, c.value);
			END IF;
		END LOOP;
		FOR part IN SELECT * FROM cauce.parts_of("table") LOOP
			EXECUTE format('DROP TRIGGER IF EXISTS cauce_truncate ON %s', part);
			FOREACH name IN ARRAY ARRAY['cauce_mine', 'cauce_only', 'cauce_owner_updates', 'cauce_owner_deletes'] LOOP
				EXECUTE format('DROP POLICY IF EXISTS %I ON %s', name, part);
			END LOOP;
			IF NOT EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = part) THEN
				EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', part);
			END IF;
		END LOOP;
		EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', "table", p.account_column);
	END IF;
	FOR name IN SELECT conname FROM pg_constraint WHERE conrelid = "table" AND contype = 'f' AND confrelid = 'cauce.session'::regclass LOOP
		EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', "table", name);
	END LOOP;
	IF NOT EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = p.account_column
				   WHERE i.indrelid = "table" AND i.indisprimary AND a.attnum = ANY (i.indkey)) THEN
		EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', "table", p.account_column);
	END IF;
	DELETE FROM cauce.protect_job j WHERE j."table" = unprotect."table";
	RAISE NOTICE 'table % is not protected any more', "table"
		USING HINT = format('What it holds is in the clear. Column %s stays, and may be dropped.', quote_ident(p.account_column));
END
$$;
COMMENT ON FUNCTION cauce.unprotect(regclass) IS
	'undoes protect(), or abandons protect_gradually(): sealed columns become plain again, which takes an identity that may open every value (28000, 42501)';

--
-- Adoption of a big table, in steps that other sessions hardly notice: a sealed column grows beside the
-- plain one, in step with it, and takes its place at the end.
--

CREATE FUNCTION cauce.adopt_begin("table" regclass, session_column name, encrypt name[]) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	adopting CONSTANT boolean := (SELECT p.adopting FROM cauce.protected_table p WHERE p."table" = adopt_begin."table");
	actions text[] := '{}';
	present text[] := ARRAY['account_id', session_column]::text[];
	pairs text[] := '{}';
	total bigint;
	"column" name;
BEGIN
	PERFORM cauce.require_superuser();
	IF adopting THEN
		-- The job is not part of a dump: one that was restored in the middle begins anew, and finds its work done.
		INSERT INTO cauce.protect_job AS j ("table", session_column, encrypt, rows_total)
			VALUES ("table", session_column, encrypt, (SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = "table"))
			ON CONFLICT ON CONSTRAINT protect_job_pkey DO NOTHING;
		IF NOT EXISTS (SELECT 1 FROM cauce.protect_job j WHERE j."table" = adopt_begin."table"
			AND j.session_column = adopt_begin.session_column AND j.encrypt = adopt_begin.encrypt) THEN
			RAISE EXCEPTION 'table % is being adopted with other columns', "table"
				USING ERRCODE = '55000', HINT = 'cauce.protect_job has them; cauce.unprotect() ends that adoption.';
		END IF;
		RETURN;
	END IF;
	PERFORM cauce.check_adoptable("table", session_column);
	IF coalesce(encrypt, '{}') = '{}' THEN
		RAISE EXCEPTION 'no column is named to be sealed' USING ERRCODE = '22023', HINT = 'cauce.protect() rewrites nothing then, and is quick.';
	END IF;
	total := cauce.check_sessions("table", session_column);
	IF NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = "table" AND attname = 'account_id') THEN
		actions := actions || text 'ADD COLUMN account_id uuid';
	END IF;
	FOREACH "column" IN ARRAY encrypt LOOP
		actions := actions || format('ADD COLUMN %I %s', "column" || '$cauce', cauce.sealed_type("table", "column", NULL));
		pairs := pairs || ARRAY["column"::text, "column" || '$cauce'];
		IF (SELECT attnotnull FROM pg_attribute WHERE attrelid = "table" AND attname = "column") THEN
			present := present || ("column" || '$cauce');
		END IF;
	END LOOP;
	LOCK TABLE cauce.session IN SHARE ROW EXCLUSIVE MODE; -- before the table's own, as in protect()
	EXECUTE format('ALTER TABLE %s %s', "table", array_to_string(actions, ', '));
	EXECUTE format('CREATE TRIGGER zz_cauce_ahead BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION cauce.seal_ahead(%s)',
		"table", (SELECT string_agg(quote_literal(n), ', ' ORDER BY o) FROM unnest(session_column::text || pairs) WITH ORDINALITY u (n, o)));
	EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER zz_cauce_ahead', "table");
	PERFORM cauce.seal_trigger("table", session_column, 'ALWAYS', 'adopting');
	-- NOT VALID spares the long lock; a partitioned table cannot have it, and is read once while writers wait.
	EXECUTE format('ALTER TABLE %s ADD CONSTRAINT cauce_session FOREIGN KEY (account_id, %I)
		REFERENCES cauce.session (account_id, id) %s', "table", session_column,
		CASE (SELECT relkind FROM pg_class WHERE oid = "table") WHEN 'r' THEN 'NOT VALID' ELSE '' END);
	EXECUTE format('ALTER TABLE %s ADD CONSTRAINT cauce_present CHECK (%s) NOT VALID', "table",
		(SELECT string_agg(format('%I IS NOT NULL', n), ' AND ') FROM unnest(present) n));
	DELETE FROM cauce.protect_job j WHERE j."table" = adopt_begin."table";
	INSERT INTO cauce.protect_job ("table", session_column, encrypt, rows_total) VALUES ("table", session_column, encrypt, total);
END
$$;
COMMENT ON FUNCTION cauce.adopt_begin(regclass, name, name[]) IS 'first step of protect_gradually(), or nothing when it was done; cauce''s own';

CREATE FUNCTION cauce.adopt_pending(encrypt name[]) RETURNS text
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT pg_catalog.string_agg(pg_catalog.format('(t.%I IS NOT NULL AND t.%I IS NULL) OR ', n, n || '$cauce'), '') || 't.account_id IS NULL'
	FROM pg_catalog.unnest(encrypt) n;
END;
COMMENT ON FUNCTION cauce.adopt_pending(name[]) IS 'the condition on rows that are still to be sealed; cauce''s own';

CREATE FUNCTION cauce.adopt_batch("table" regclass, batch integer) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	job cauce.protect_job;
	part pg_class;
	size bigint;
	blocks bigint;
	done bigint := 0;
BEGIN
	SELECT * INTO STRICT job FROM cauce.protect_job j WHERE j."table" = adopt_batch."table" FOR UPDATE;
	SELECT c.* INTO part FROM cauce.parts_of("table") p JOIN pg_class c ON c.oid = p
		WHERE c.relkind = 'r' AND c.oid >= job.part ORDER BY c.oid LIMIT 1;
	IF NOT FOUND OR job.phase <> 'sealing' THEN
		RETURN false;
	END IF;
	IF part.oid <> job.part THEN
		job.part := part.oid;
		job.next_block := 0;
	END IF;
	size := pg_relation_size(part.oid) / current_setting('block_size')::integer;
	IF job.next_block < size THEN
		-- As many blocks as hold a batch of rows, by the planner's knowledge or else a guess.
		blocks := greatest(1, batch / greatest(1, CASE WHEN part.reltuples > 0 AND part.relpages > 0
			THEN part.reltuples / part.relpages ELSE 50 END));
		done := cauce.bind_rows(part.oid::regclass, job.session_column, format('t.ctid >= ''(%s,0)'' AND t.ctid < ''(%s,0)'' AND (%s)',
			job.next_block, job.next_block + blocks, cauce.adopt_pending(job.encrypt)));
		job.next_block := job.next_block + blocks;
	ELSE
		job.part := (part.oid::bigint + 1)::oid;
	END IF;
	UPDATE cauce.protect_job j SET part = job.part, next_block = job.next_block, rows_done = j.rows_done + done, updated_at = clock_timestamp()
		WHERE j."table" = adopt_batch."table";
	RETURN true;
END
$$;
COMMENT ON FUNCTION cauce.adopt_batch(regclass, integer) IS 'seals the next rows of a table under adoption; false when none are left; cauce''s own';

CREATE FUNCTION cauce.adopt_check("table" regclass) RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	job cauce.protect_job;
	pending bigint;
BEGIN
	SELECT * INTO STRICT job FROM cauce.protect_job j WHERE j."table" = adopt_check."table" FOR UPDATE;
	EXECUTE format('SELECT count(*) FROM %s t WHERE %s', "table", cauce.adopt_pending(job.encrypt)) INTO pending;
	IF pending > 0 THEN
		PERFORM cauce.check_sessions("table", job.session_column);
	END IF;
	UPDATE cauce.protect_job j SET part = 0, next_block = 0, phase = CASE WHEN pending = 0 THEN 'checking' ELSE 'sealing' END,
		updated_at = clock_timestamp() WHERE j."table" = adopt_check."table";
	RETURN pending = 0;
END
$$;
COMMENT ON FUNCTION cauce.adopt_check(regclass) IS 'whether every row of a table under adoption is sealed; cauce''s own';

CREATE FUNCTION cauce.adopt_index("table" regclass) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT cauce.index_sessions(j."table", j.session_column) FROM cauce.protect_job j WHERE j."table" = adopt_index."table";
END;
COMMENT ON FUNCTION cauce.adopt_index(regclass) IS 'a step of protect_gradually(); cauce''s own';

CREATE FUNCTION cauce.adopt_validate("table" regclass, name name) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', "table", name);
END
$$;
COMMENT ON FUNCTION cauce.adopt_validate(regclass, name) IS 'a step of protect_gradually(), under which others read and write; cauce''s own';

CREATE FUNCTION cauce.filenodes("table" regclass) RETURNS oid[]
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT pg_catalog.array_agg(pg_catalog.pg_relation_filenode(c.oid))
	FROM cauce.parts_of("table") p JOIN pg_catalog.pg_class c ON c.oid = p WHERE c.relkind = 'r';
END;
COMMENT ON FUNCTION cauce.filenodes(regclass) IS 'the files that a table is in; cauce''s own';

CREATE FUNCTION cauce.adopt_finish("table" regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	job cauce.protect_job;
	c record;
	g record;
BEGIN
	SELECT * INTO STRICT job FROM cauce.protect_job j WHERE j."table" = adopt_finish."table" FOR UPDATE;
	EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', "table");
	-- The check that is valid by now spares SET NOT NULL to read the table.
	EXECUTE format('ALTER TABLE %s ALTER COLUMN account_id SET NOT NULL, ALTER COLUMN %I SET NOT NULL', "table", job.session_column);
	EXECUTE format('DROP TRIGGER zz_cauce_ahead ON %s', "table");
	EXECUTE format('DROP TRIGGER zz_cauce_seal ON %s', "table");
	FOR c IN SELECT a.attname, a.attname || '$cauce' AS sealed, a.attnotnull, a.attacl, col_description(a.attrelid, a.attnum) AS comment,
				pg_get_expr(d.adbin, d.adrelid) AS value
			FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
			WHERE a.attrelid = "table" AND a.attname = ANY (job.encrypt) LOOP
		IF c.attnotnull THEN
			EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', "table", c.sealed);
		END IF;
		IF c.value IS NOT NULL THEN
			EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT (%s)', "table", c.sealed, c.value);
		END IF;
		EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', "table", c.sealed, c.comment);
		FOR g IN SELECT privilege_type, is_grantable,
					CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS grantee FROM aclexplode(c.attacl) LOOP
			EXECUTE format('GRANT %s (%I) ON %s TO %s %s', g.privilege_type, c.sealed, "table", g.grantee,
				CASE WHEN g.is_grantable THEN 'WITH GRANT OPTION' ELSE '' END);
		END LOOP;
	END LOOP;
	EXECUTE format('ALTER TABLE %s DROP CONSTRAINT cauce_present', "table");
	FOR c IN SELECT n FROM unnest(job.encrypt) n LOOP
		EXECUTE format('ALTER TABLE %s DROP COLUMN %I', "table", c.n);
		EXECUTE format('ALTER TABLE %s RENAME COLUMN %I TO %I', "table", c.n || '$cauce', c.n);
	END LOOP;
	PERFORM cauce.seal_trigger("table", job.session_column, '');
	PERFORM cauce.guard("table", job.session_column);
	UPDATE cauce.protect_job j SET phase = 'vacuum full pending', filenodes = cauce.filenodes(adopt_finish."table"), updated_at = clock_timestamp()
		WHERE j."table" = adopt_finish."table";
	RAISE NOTICE 'table % is protected; its files hold the plaintext until they are rewritten', "table"
		USING HINT = format('VACUUM (FULL) %s at a quiet time, or pg_repack. What else remains: docs/adoption.md.', "table");
END
$$;
COMMENT ON FUNCTION cauce.adopt_finish(regclass) IS 'last step of protect_gradually(): the sealed columns take the place of the plain ones; cauce''s own';

CREATE FUNCTION cauce.adopt_abandon("table" regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name name;
BEGIN
	EXECUTE format('DROP TRIGGER zz_cauce_ahead ON %s', "table");
	EXECUTE format('DROP TRIGGER zz_cauce_seal ON %s', "table");
	EXECUTE format('ALTER TABLE %s DROP CONSTRAINT cauce_present', "table");
	FOR name IN SELECT a.attname FROM pg_attribute a WHERE a.attrelid = "table" AND a.attname LIKE '%$cauce' AND NOT a.attisdropped LOOP
		EXECUTE format('ALTER TABLE %s DROP COLUMN %I', "table", name);
	END LOOP;
END
$$;
COMMENT ON FUNCTION cauce.adopt_abandon(regclass) IS 'undoes what protect_gradually() has done so far; cauce''s own';

-- It commits, so it can have no search_path of its own; it calls functions that do.
CREATE PROCEDURE cauce.protect_gradually("table" regclass, session_column name, encrypt name[], batch integer DEFAULT 10000)
	LANGUAGE plpgsql
AS $$
BEGIN
	PERFORM cauce.adopt_begin("table", session_column, encrypt);
	COMMIT;
	LOOP
		WHILE cauce.adopt_batch("table", batch) LOOP
			COMMIT;
		END LOOP;
		COMMIT;
		EXIT WHEN cauce.adopt_check("table");
	END LOOP;
	COMMIT;
	PERFORM cauce.adopt_index("table");
	COMMIT;
	PERFORM cauce.adopt_validate("table", 'cauce_present');
	COMMIT;
	PERFORM cauce.adopt_validate("table", 'cauce_session');
	COMMIT;
	PERFORM cauce.adopt_finish("table");
END
$$;
COMMENT ON PROCEDURE cauce.protect_gradually(regclass, name, name[], integer) IS
	'protect() of a big table in batches of about so many rows, each a transaction, beside readers and writers; stopped at any point, the same CALL goes on; cauce.protect_progress shows how far it is';

--
-- Archives of protected tables' rows. cauce's own: what src/archive_rows.c asks of the catalog.
--

CREATE FUNCTION cauce.key_condition(key pg_constraint) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(format('p.%I OPERATOR(%I.%s) f.%I', p.attname, n.nspname, o.oprname, f.attname), ' AND ' ORDER BY u.at)
	FROM unnest(key.confkey, key.conkey, key.conpfeqop) WITH ORDINALITY AS u (p, f, o, at)
	JOIN pg_attribute p ON p.attrelid = key.confrelid AND p.attnum = u.p
	JOIN pg_attribute f ON f.attrelid = key.conrelid AND f.attnum = u.f
	JOIN pg_operator o ON o.oid = u.o
	JOIN pg_namespace n ON n.oid = o.oprnamespace
$$;
COMMENT ON FUNCTION cauce.key_condition(pg_constraint) IS 'the condition under which a row f refers to a row p; cauce''s own';

CREATE FUNCTION cauce.hanging_statements(OUT referrer text, OUT referred text, OUT hold text, OUT look text) RETURNS SETOF record
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	WITH p AS MATERIALIZED (SELECT * FROM cauce.protected_table),
	parts AS (
		SELECT t.oid AS part, p.account_column, p.session_column, p."table"::oid AS root
		FROM p, cauce.parts_of(p."table") t (oid)
		UNION ALL
		SELECT c::regclass, 'account_id', CASE c WHEN 'cauce.session' THEN 'id' ELSE 'session_id' END, NULL
		FROM unnest(ARRAY['cauce.session', 'cauce.transcript_segment', 'cauce.report', 'cauce.alert']) c)
	SELECT coalesce(r.root, k.conrelid)::regclass::text, k.confrelid::regclass::text,
		format('SELECT 1 FROM %s WHERE %I = $1 AND %I = $2 FOR UPDATE', k.confrelid::regclass, h.account_column, h.session_column),
		format('SELECT 1 FROM %s p JOIN %s f ON %s WHERE p.%I = $1 AND p.%I = $2 %s LIMIT 1', k.confrelid::regclass, k.conrelid::regclass,
			cauce.key_condition(k), h.account_column, h.session_column,
			CASE WHEN r.root IS NOT NULL THEN format('AND NOT (f.%I = $1 AND f.%I = $2)', r.account_column, r.session_column) ELSE '' END)
	FROM pg_constraint k
	JOIN parts h ON h.part = k.confrelid
	LEFT JOIN parts r ON r.part = k.conrelid AND r.root IS NOT NULL
	WHERE k.contype = 'f' AND k.conparentid = 0
		AND k.conrelid NOT IN (SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'cauce'::regnamespace)
		AND NOT (r.root IS NOT NULL AND k.confrelid = 'cauce.session'::regclass)
$$;
COMMENT ON FUNCTION cauce.hanging_statements() IS
	'for each foreign key to rows of sessions: statements that hold the rows of session $2 of account $1, and that look for rows of others which refer to them; cauce''s own';

CREATE FUNCTION cauce.kept_statements("table" oid, OUT name text, OUT code text, OUT rows text, OUT found text) RETURNS SETOF record
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT k.conname, CASE k.contype WHEN 'f' THEN '23503' ELSE '23505' END,
		format('SELECT count(*) FROM %s f WHERE f.%I = $1 AND f.%I = $2%s', k.conrelid::regclass, p.account_column, p.session_column,
			(SELECT string_agg(format(' AND f.%I IS NOT NULL', a.attname), '') FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))),
		CASE k.contype WHEN 'f' THEN
			format('WITH held AS (SELECT 1 FROM %s f JOIN %s p ON %s WHERE f.%I = $1 AND f.%I = $2 FOR KEY SHARE OF p) SELECT count(*) FROM held',
				k.conrelid::regclass, k.confrelid::regclass, cauce.key_condition(k), p.account_column, p.session_column)
		ELSE
			format('SELECT count(*) FROM %1$s f JOIN %1$s p ON %2$s WHERE f.%3$I = $1 AND f.%4$I = $2', k.conrelid::regclass,
				(SELECT string_agg(format('p.%1$I = f.%1$I', a.attname), ' AND ') FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)),
				p.account_column, p.session_column)
		END
	FROM cauce.protected_table p, cauce.parts_of(p."table") t (oid)
	JOIN pg_constraint k ON k.conrelid = t.oid
	WHERE p."table" = kept_statements."table" AND k.conparentid = 0
		AND (k.contype = 'f' AND k.confrelid <> 'cauce.session'::regclass AND to_jsonb(k)->>'conenforced' IS DISTINCT FROM 'false'
			OR k.contype = 'u' AND k.condeferrable)
$$;
COMMENT ON FUNCTION cauce.kept_statements(oid) IS
	'for each foreign key and each deferrable unique constraint of a protected table: statements that count its rows of session $2 of account $1, and those for which it holds; cauce''s own';

CREATE FUNCTION cauce.names_of_today(INOUT "schema" text, INOUT "table" text, INOUT columns text[], since timestamptz)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	f cauce.former_name;
BEGIN
	FOR f IN SELECT * FROM cauce.former_name n WHERE n.at > since ORDER BY n.id LOOP
		CONTINUE WHEN f.former_schema <> "schema" OR f.former_table <> "table";
		"schema" := f."schema";
		"table" := f."table";
		columns := array_replace(columns, f.former_column::text, f."column"::text);
	END LOOP;
END
$$;
COMMENT ON FUNCTION cauce.names_of_today(text, text, text[], timestamptz) IS
	'what a table and its columns are called now, by what rebind() was told since; cauce''s own';

--
-- Views
--

CREATE VIEW cauce.protected_table WITH (security_barrier = true) AS
	SELECT c.oid::pg_catalog.regclass AS "table", a.attname AS account_column, s.attname AS session_column,
		ARRAY(SELECT e.attname FROM pg_catalog.pg_attribute e JOIN pg_catalog.pg_type y ON y.oid = e.atttypid
			WHERE e.attrelid = c.oid AND e.attnum > 0 AND NOT e.attisdropped AND y.typnamespace = 'cauce'::pg_catalog.regnamespace
				AND y.typname ~ '^_?encrypted_'
			ORDER BY e.attnum) AS sealed_columns,
		t.tgnargs = 2 AS adopting
	FROM pg_catalog.pg_trigger t
	JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
	CROSS JOIN LATERAL (
		SELECT k.conkey[pg_catalog.array_position(k.confkey, 1::smallint)] AS account,
			k.conkey[pg_catalog.array_position(k.confkey, 2::smallint)] AS session
		FROM pg_catalog.pg_constraint k
		WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid = 'cauce.session'::pg_catalog.regclass
		LIMIT 1) f
	JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = f.account
	JOIN pg_catalog.pg_attribute s ON s.attrelid = c.oid AND s.attnum = f.session
	WHERE t.tgfoid = 'cauce.seal_row()'::pg_catalog.regprocedure AND t.tgparentid = 0
		AND c.relnamespace <> 'cauce'::pg_catalog.regnamespace;
COMMENT ON VIEW cauce.protected_table IS
	'applications'' tables that are part of sessions, as the catalog tells by trigger and foreign key; adopting while protect_gradually() is at work';

CREATE VIEW cauce.protect_progress WITH (security_barrier = true) AS
	SELECT j."table", CASE WHEN j.phase = 'vacuum full pending' AND NOT j.filenodes && cauce.filenodes(j."table") THEN 'done'
			ELSE j.phase END AS phase,
		j.rows_done, j.rows_total, j.started_at, j.updated_at
	FROM cauce.protect_job j JOIN pg_catalog.pg_class c ON c.oid = j."table";
COMMENT ON VIEW cauce.protect_progress IS
	'how far protect_gradually() is with each table: sealing, checking, vacuum full pending (the files still hold plaintext), done';

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
	LEFT JOIN cauce.organization o ON o.id = s.organization_id
	WHERE s.retain_until <= pg_catalog.now() AND NOT s.legal_hold AND NOT EXISTS (SELECT FROM cauce.retention_failure f
		WHERE f.account_id = s.account_id AND f.session_id = s.id AND f.retry_at > pg_catalog.now())
	UNION ALL
	SELECT account_id, id, organization_id, 'archive', delete_after, 'delete', 'archive kept long enough'
	FROM cauce.archived_session d
	WHERE delete_after <= pg_catalog.now() AND NOT legal_hold AND NOT EXISTS (SELECT FROM cauce.retention_failure f
		WHERE f.account_id = d.account_id AND f.session_id = d.id AND f.retry_at > pg_catalog.now());
COMMENT ON VIEW cauce.due_session IS
	'what the next retention run takes, and why; what has failed is in it again when its next try is due, and what somebody holds waits for the run after';

CREATE VIEW cauce.retention_status WITH (security_barrier = true) AS
	SELECT (SELECT pg_catalog.max(finished_at) FROM cauce.retention_run) AS last_run,
		(SELECT pg_catalog.count(*) FROM cauce.due_session)
			+ (SELECT pg_catalog.count(*) FROM cauce.retention_failure WHERE retry_at > pg_catalog.now()) AS backlog,
		(SELECT pg_catalog.min(due_at) FROM cauce.due_session) AS oldest_due,
		(SELECT pg_catalog.count(*) FROM cauce.retention_failure) AS failing,
		(SELECT pg_catalog.min(retry_at) FROM cauce.retention_failure) AS next_retry,
		cauce.clock_held_until() AS clock_held_until, cauce.no_worker_since() AS no_worker_since;
COMMENT ON VIEW cauce.retention_status IS 'whether retention keeps up';

CREATE VIEW cauce.storage_status WITH (security_barrier = true) AS
	SELECT a.here, a.elsewhere, a.oldest_here, s.failing, s.next_retry, s.to_remove,
		(SELECT pg_catalog.format('%s: %s', f.sqlstate, f.message) FROM cauce.stored_bundle f
			WHERE f.failed_at IS NOT NULL ORDER BY f.failed_at DESC LIMIT 1) AS last_failure
	FROM (SELECT pg_catalog.count(*) FILTER (WHERE bundle_digest IS NULL) AS here, pg_catalog.count(bundle_digest) AS elsewhere,
			pg_catalog.min(archived_at) FILTER (WHERE bundle_digest IS NULL AND NOT legal_hold) AS oldest_here
		FROM cauce.archived_session) a,
		(SELECT pg_catalog.count(*) FILTER (WHERE attempts > 0) AS failing, pg_catalog.min(retry_at) AS next_retry,
			pg_catalog.count(*) FILTER (WHERE NOT EXISTS (SELECT FROM cauce.data_key k
				WHERE k.account_id = b.account_id AND k.session_id = b.session_id)) AS to_remove
		FROM cauce.stored_bundle b) s;
COMMENT ON VIEW cauce.storage_status IS
	'how many archives are in the table and how many in storage, since when the oldest waits, how many files fail, how many of erased sessions are to be removed';

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
	'how far each rotation of data keys is: keys without their next generation, keys whose content is still to be sealed anew';

CREATE VIEW cauce.my_access_log WITH (security_barrier = true) AS
	SELECT at, actor, role, action, session_id, reason
	FROM cauce.audit_log
	WHERE account_id = (SELECT cauce.account_id()) AND role <> 'owner';
COMMENT ON VIEW cauce.my_access_log IS 'who else opened my sessions, or changed what holds for me, when and for which reason';

--
-- Export. With the rights of whoever asks, and never of more: nothing here is SECURITY DEFINER.
--

CREATE FUNCTION cauce.export_protected() RETURNS jsonb
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	me CONSTANT uuid := cauce.account_id();
	result jsonb := '{}';
	p cauce.protected_table;
	rows jsonb;
BEGIN
	FOR p IN SELECT * FROM cauce.protected_table t ORDER BY t."table"::text LOOP
		-- While a table is adopted, a row's account may be unknown yet, and each content is there twice.
		EXECUTE format('SELECT coalesce(jsonb_agg(to_jsonb(t.*) - $2), ''[]'') FROM %1$s t WHERE t.%2$I = $1 %3$s', p."table", p.account_column,
				CASE WHEN p.adopting THEN format('OR t.%1$I IS NULL AND t.%2$I IN (SELECT s.id FROM cauce.session s WHERE s.account_id = $1)',
					p.account_column, p.session_column) ELSE '' END)
			INTO rows USING me, ARRAY(SELECT c::text FROM unnest(p.sealed_columns) c WHERE p.adopting AND c LIKE '%$cauce');
		result := result || jsonb_build_object(p."table"::text, rows);
	END LOOP;
	RETURN result;
END
$$;
COMMENT ON FUNCTION cauce.export_protected() IS
	'my rows of protected tables, by table; 42501 where the caller may not read one of them; a part of export_my_data()';

-- Rows are sorted while they are sealed, and nothing that is open is hashed: both may spill to disk.
CREATE FUNCTION cauce.export_sessions() RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(jsonb_agg(to_jsonb(s) || jsonb_build_object(
		'transcript_segment', (SELECT coalesce(jsonb_agg(to_jsonb(o)), '[]') FROM (SELECT * FROM cauce.transcript_segment t
			WHERE t.account_id = s.account_id AND t.session_id = s.id ORDER BY t.channel, t.seq) o),
		'report', (SELECT coalesce(jsonb_agg(to_jsonb(o)), '[]') FROM (SELECT * FROM cauce.report r
			WHERE r.account_id = s.account_id AND r.session_id = s.id ORDER BY r.created_at, r.id) o),
		'alert', (SELECT coalesce(jsonb_agg(to_jsonb(o)), '[]') FROM (SELECT * FROM cauce.alert a
			WHERE a.account_id = s.account_id AND a.session_id = s.id ORDER BY a.at_ms, a.id) o))), '[]')
	FROM (SELECT * FROM cauce.session m WHERE m.account_id = (SELECT cauce.account_id()) ORDER BY m.started_at, m.id) s;
END;
COMMENT ON FUNCTION cauce.export_sessions() IS 'my sessions with their content; a part of export_my_data()';

CREATE FUNCTION cauce.export_archives() RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(jsonb_agg(to_jsonb(a) - ARRAY['bundle', 'bundle_digest', 'bundle_bytes'] || jsonb_build_object('content', cauce.open_archive(a.account_id, a.id, a.bundle))), '[]')
	FROM (SELECT * FROM cauce.archived_session m WHERE m.account_id = (SELECT cauce.account_id()) ORDER BY m.started_at, m.id) a;
END;
COMMENT ON FUNCTION cauce.export_archives() IS 'my archived sessions, opened; a part of export_my_data()';

CREATE FUNCTION cauce.export_account() RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT jsonb_build_object(
		'profile', to_jsonb(a) - ARRAY['organization_id', 'role', 'login_role_oid', 'retention_days', 'retention_action'],
		'organization', CASE WHEN o.id IS NOT NULL
			THEN jsonb_build_object('id', o.id, 'name', o.name, 'role', a.role) END,
		'settings', jsonb_build_object('retention_days', a.retention_days, 'retention_action', a.retention_action,
			'effective_retention_days', coalesce(a.retention_days, o.retention_days, 90),
			'effective_retention_action', coalesce(a.retention_action, o.retention_action, 'archive')),
		'alert_rule', (SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]') FROM (SELECT * FROM cauce.alert_rule u
			WHERE u.account_id = a.id ORDER BY u.id) r),
		'erasure_certificate', (SELECT coalesce(jsonb_agg(to_jsonb(c)), '[]') FROM (SELECT * FROM cauce.erasure_certificate e
			WHERE e.account_id = a.id ORDER BY e.erased_at) c),
		'access_log', (SELECT coalesce(jsonb_agg(to_jsonb(l)), '[]') FROM (SELECT * FROM cauce.my_access_log m ORDER BY m.at) l))
	FROM cauce.account a LEFT JOIN cauce.organization o ON o.id = a.organization_id
	WHERE a.id = (SELECT cauce.account_id());
END;
COMMENT ON FUNCTION cauce.export_account() IS 'my account beside what was said; a part of export_my_data()';

CREATE FUNCTION cauce.export_my_data() RETURNS jsonb
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF cauce.account_id() IS NULL THEN
		RAISE EXCEPTION 'no account is asking'
			USING ERRCODE = '28000', DETAIL = 'No token with scope app is in force.', HINT = 'SELECT set_config(''cauce.token'', $1, true) with your token.';
	END IF;
	RETURN jsonb_build_object('version', 1, 'exported_at', clock_timestamp()) || cauce.export_account()
		|| jsonb_build_object('session', cauce.export_sessions(), 'archived_session', cauce.export_archives(),
			'protected', cauce.export_protected());
EXCEPTION
	WHEN program_limit_exceeded THEN
		RAISE EXCEPTION 'there is too much for one document'
			USING ERRCODE = '54000', DETAIL = 'A jsonb value takes 256 MB in each array and object.',
				HINT = 'Read the tables directly: cauce.session and what belongs to it, COPY (SELECT …) TO STDOUT, cauce.open_archive().';
END
$$;
COMMENT ON FUNCTION cauce.export_my_data() IS
	'everything that is mine, opened, as one document (docs/sql.md); also on a standby. Raises 54000 when it is too long for one';

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
ALTER TABLE cauce.stored_bundle ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.data_key ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.key_rotation ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.erasure_certificate ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.break_glass_grant ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.invitation ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.retention_run ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.retention_failure ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.alert_rule ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.protect_job ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.former_name ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE cauce.clock ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY mine ON cauce.organization FOR SELECT TO cauce_app
	USING (id = (SELECT cauce.organization_id()));
CREATE POLICY operate ON cauce.organization FOR SELECT TO cauce_operator USING (true);

CREATE POLICY mine ON cauce.account TO cauce_app
	USING (id = (SELECT cauce.account_id())) WITH CHECK (id = (SELECT cauce.account_id()));
CREATE POLICY members ON cauce.account FOR SELECT TO cauce_app
	USING (organization_id = (SELECT cauce.admin_organization_id()));
CREATE POLICY operate ON cauce.account FOR SELECT TO cauce_operator USING (true);

-- What is seen and what is changed are apart, so that a look-up has few conditions to begin with.
CREATE POLICY visible ON cauce.session FOR SELECT TO cauce_app
	USING (account_id = ANY ((SELECT cauce.visible_account_ids())::uuid[]));
CREATE POLICY begin ON cauce.session FOR INSERT TO cauce_app
	WITH CHECK (account_id = (SELECT cauce.account_id()));
CREATE POLICY change ON cauce.session FOR UPDATE TO cauce_app
	USING (account_id = (SELECT cauce.account_id())) WITH CHECK (account_id = (SELECT cauce.account_id()));
CREATE POLICY erase ON cauce.session FOR DELETE TO cauce_app
	USING (account_id = (SELECT cauce.account_id()));
-- A session begins in its owner's organization; whoever has left still looks after those that took place there.
CREATE POLICY begins_at_home ON cauce.session AS RESTRICTIVE FOR INSERT TO cauce_app
	WITH CHECK (organization_id IS NOT DISTINCT FROM (SELECT cauce.organization_id()));
-- Not a plan of its own, which each look-up of a session would set up: an index serves this, too.
CREATE POLICY members ON cauce.session FOR SELECT TO cauce_app
	USING (organization_id = cauce.admin_organization_id());
CREATE POLICY operate ON cauce.session FOR SELECT TO cauce_operator USING (true);

CREATE POLICY mine ON cauce.archived_session FOR ALL TO cauce_app
	USING (account_id = (SELECT cauce.account_id())) WITH CHECK (false);
CREATE POLICY members ON cauce.archived_session FOR SELECT TO cauce_app
	USING (organization_id = (SELECT cauce.admin_organization_id()));

-- Content. The accounts that are readable at all come from one InitPlan, so that
-- the primary key serves; the sessions of others are then looked at one by one.
CREATE FUNCTION cauce.readable_account_ids() RETURNS uuid[]
	AS 'MODULE_PATHNAME', 'cauce_readable_account_ids' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION cauce.readable_account_ids() IS 'the accounts whose content the caller may read some of; for policies';
-- A function, since a subquery on cauce.session costs every statement its start, the owner's too, who never needs it.
CREATE FUNCTION cauce.session_is_readable(account_id uuid, session_id uuid) RETURNS boolean
	AS 'MODULE_PATHNAME', 'cauce_session_is_readable' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cauce.session_is_readable(uuid, uuid) IS
	'whether the caller reads a session''s content: as its owner, as admin of the organization it is of, or under break_glass(); for policies';

CREATE POLICY mine ON cauce.transcript_segment TO cauce_app
	USING (account_id = ANY ((SELECT cauce.readable_account_ids())::uuid[])
		AND cauce.session_is_readable(account_id, session_id))
	WITH CHECK (account_id = (SELECT cauce.account_id()));
CREATE POLICY append ON cauce.transcript_segment FOR INSERT TO cauce_app, cauce_stream
	WITH CHECK (account_id = (SELECT cauce.appending_account_id())
		AND session_id = (SELECT cauce.appending_session_id()));

CREATE POLICY mine ON cauce.report TO cauce_app
	USING (account_id = ANY ((SELECT cauce.readable_account_ids())::uuid[])
		AND cauce.session_is_readable(account_id, session_id))
	WITH CHECK (account_id = (SELECT cauce.account_id()));

CREATE POLICY mine ON cauce.alert TO cauce_app
	USING (account_id = ANY ((SELECT cauce.readable_account_ids())::uuid[])
		AND cauce.session_is_readable(account_id, session_id))
	WITH CHECK (account_id = (SELECT cauce.account_id()));
CREATE POLICY append ON cauce.alert FOR INSERT TO cauce_app, cauce_stream
	WITH CHECK (account_id = (SELECT cauce.appending_account_id())
		AND session_id = (SELECT cauce.appending_session_id()));

CREATE POLICY mine ON cauce.break_glass_grant FOR SELECT TO cauce_app
	USING (account_id = (SELECT cauce.account_id()));
CREATE POLICY granted ON cauce.break_glass_grant FOR SELECT TO cauce_app
	USING (grantee_id = (SELECT cauce.account_id()));
CREATE POLICY audit ON cauce.break_glass_grant FOR SELECT TO cauce_auditor USING (true);

CREATE POLICY mine ON cauce.invitation FOR SELECT TO cauce_app
	USING (subject = (SELECT a.subject FROM cauce.account a WHERE a.id = (SELECT cauce.account_id())));
CREATE POLICY organizations ON cauce.invitation FOR SELECT TO cauce_app
	USING (organization_id = (SELECT cauce.admin_organization_id()));

CREATE POLICY mine ON cauce.erasure_certificate FOR SELECT TO cauce_app
	USING (account_id = (SELECT cauce.account_id()));
CREATE POLICY audit ON cauce.erasure_certificate FOR SELECT TO cauce_auditor USING (true);
CREATE POLICY mine ON cauce.audit_log FOR SELECT TO cauce_app
	USING (account_id = (SELECT cauce.account_id()));
CREATE POLICY organizations ON cauce.audit_log FOR SELECT TO cauce_app
	USING (organization_id = (SELECT cauce.admin_organization_id()));
CREATE POLICY audit ON cauce.audit_log FOR SELECT TO cauce_auditor USING (true);

CREATE POLICY operate ON cauce.key_rotation FOR SELECT TO cauce_operator USING (true);
CREATE POLICY operate ON cauce.retention_run FOR SELECT TO cauce_operator USING (true);
CREATE POLICY operate ON cauce.retention_failure FOR SELECT TO cauce_operator USING (true);
CREATE POLICY operate ON cauce.stored_bundle FOR SELECT TO cauce_operator USING (true);

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

REVOKE ALL ON ALL ROUTINES IN SCHEMA cauce FROM PUBLIC;

GRANT SELECT ON cauce.organization, cauce.account, cauce.archived_session, cauce.erasure_certificate,
	cauce.break_glass_grant, cauce.invitation,
	cauce.audit_log, cauce.my_access_log, cauce.transcript, cauce.protected_table TO cauce_app;
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
	cauce.stored_bundle, cauce.storage_status,
	cauce.key_status, cauce.key_rotation, cauce.rotation_status, cauce.protected_table, cauce.protect_progress
	TO cauce_operator;
GRANT SELECT ON cauce.audit_log, cauce.erasure_certificate, cauce.break_glass_grant TO cauce_auditor;

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
	cauce.content_organization_id(), cauce.readable_account_ids(), cauce.session_is_readable(uuid, uuid), cauce.visible_account_ids()
	TO cauce_app, cauce_stream, cauce_operator, cauce_auditor;
GRANT EXECUTE ON FUNCTION cauce.stream_alert_rules(), cauce.end_stream() TO cauce_app, cauce_stream;
GRANT EXECUTE ON FUNCTION cauce.set_retention(integer, cauce.retention_action),
	cauce.set_organization_retention(uuid, integer, cauce.retention_action),
	cauce.stream_token(uuid, interval), cauce.archive_session(uuid), cauce.restore_session(uuid),
	cauce.invite_member(text, cauce.account_role), cauce.withdraw_invitation(text), cauce.join_organization(uuid),
	cauce.leave_organization(), cauce.remove_member(uuid), cauce.set_member_role(uuid, cauce.account_role), cauce.end_break_glass(uuid),
	cauce.delete_my_data(text), cauce.export_my_data(), cauce.export_account(), cauce.export_sessions(),
	cauce.export_archives(), cauce.export_protected(), cauce.open_archive(uuid, uuid, bytea)
	TO cauce_app;
GRANT EXECUTE ON FUNCTION cauce.open_certificate(text), cauce.certificate_jwks(), cauce.verify_certificate(uuid),
	cauce.open_audit_entry(text)
	TO cauce_app, cauce_auditor, cauce_operator;
GRANT EXECUTE ON FUNCTION cauce.break_glass(uuid, text, interval) TO cauce_support;
GRANT EXECUTE ON FUNCTION cauce.verify_audit(), cauce.audit_guards() TO cauce_app, cauce_auditor;
GRANT EXECUTE ON FUNCTION cauce.create_organization(text, text),
	cauce.create_account(text, uuid, cauce.account_role, text, text),
	cauce.set_legal_hold(uuid, uuid, text), cauce.release_legal_hold(uuid, uuid, text),
	cauce.run_retention(integer), cauce.schedule_retention(text), cauce.unschedule_retention(),
	cauce.reapply_erasures(text[]), cauce.store_archives(), cauce.clock_held_until(), cauce.confirm_clock(), cauce.no_worker_since(), cauce.keyring_status(), cauce.master_of(bytea), cauce.is_sealed_type(oid),
	cauce.verify(regclass), cauce.parts_of(regclass), cauce.filenodes(regclass) -- these two for the view protect_progress
	TO cauce_operator;

-- The last, so that nothing above sets them off.
CREATE EVENT TRIGGER cauce_altered ON ddl_command_end EXECUTE FUNCTION cauce.audit_ddl();
CREATE EVENT TRIGGER cauce_dropped ON sql_drop EXECUTE FUNCTION cauce.audit_ddl();
ALTER EVENT TRIGGER cauce_altered ENABLE ALWAYS;
ALTER EVENT TRIGGER cauce_dropped ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER cauce_altered IS 'notes for the audit log who alters what is cauce''s';
COMMENT ON EVENT TRIGGER cauce_dropped IS 'notes for the audit log who drops what is cauce''s';
