-- The tables that a subject has instead of cauce's: the same columns, keys, indexes, checks and
-- policies. The identity comes from plain settings, as applications do it without cauce.
--
--	psql -v subject=plain -v sealed=text -f bench/twin.sql
--
-- :subject is the schema, :sealed the type of what cauce seals.

CREATE SCHEMA :subject;
GRANT USAGE ON SCHEMA :subject TO app;
SET search_path = :subject;

CREATE FUNCTION account_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT nullif(current_setting('bench.account', true), '')::uuid $$;
CREATE FUNCTION organization_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT nullif(current_setting('bench.organization', true), '')::uuid $$;
CREATE FUNCTION content_organization_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT nullif(current_setting('bench.content_organization', true), '')::uuid $$;

CREATE FUNCTION appending_session_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT nullif(current_setting('bench.session', true), '')::uuid $$;

CREATE TABLE session (
	account_id uuid NOT NULL DEFAULT account_id(),
	id uuid NOT NULL DEFAULT gen_random_uuid(),
	organization_id uuid DEFAULT organization_id(),
	title :sealed,
	client :sealed,
	language text,
	status text NOT NULL DEFAULT 'live' CHECK (status IN ('live', 'ended')),
	started_at timestamptz NOT NULL DEFAULT now(),
	ended_at timestamptz,
	retention_days integer CHECK (retention_days BETWEEN 1 AND 3650),
	retain_until timestamptz NOT NULL DEFAULT now() + interval '90 days',
	legal_hold boolean NOT NULL DEFAULT false,
	PRIMARY KEY (account_id, id),
	FOREIGN KEY (account_id) REFERENCES cauce.account (id),
	FOREIGN KEY (organization_id) REFERENCES cauce.organization (id)
);
CREATE INDEX ON session (organization_id);
CREATE INDEX ON session (retain_until);

CREATE TABLE transcript_segment (
	account_id uuid NOT NULL DEFAULT account_id(),
	session_id uuid NOT NULL,
	channel integer NOT NULL DEFAULT 0 CHECK (channel >= 0),
	seq bigint NOT NULL CHECK (seq >= 0),
	speaker text,
	start_ms bigint NOT NULL CHECK (start_ms >= 0),
	end_ms bigint NOT NULL CHECK (end_ms >= start_ms),
	confidence real CHECK (confidence BETWEEN 0 AND 1),
	body :sealed NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (account_id, session_id, channel, seq),
	FOREIGN KEY (account_id, session_id) REFERENCES session (account_id, id) ON DELETE CASCADE
);

CREATE TABLE report (
	account_id uuid NOT NULL DEFAULT account_id(),
	session_id uuid NOT NULL,
	id uuid NOT NULL DEFAULT gen_random_uuid(),
	kind text NOT NULL DEFAULT 'summary',
	body :sealed NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (account_id, session_id, id),
	FOREIGN KEY (account_id, session_id) REFERENCES session (account_id, id) ON DELETE CASCADE
);

ALTER TABLE session ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE transcript_segment ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE report ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE FUNCTION readable_account_ids() RETURNS uuid[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
	organization CONSTANT uuid := content_organization_id();
BEGIN
	IF organization IS NULL THEN
		RETURN ARRAY[account_id()];
	END IF;
	RETURN ARRAY(SELECT DISTINCT s.account_id FROM session s WHERE s.organization_id = organization)
		|| account_id();
END
$$;

CREATE POLICY mine ON session TO app
	USING (account_id = (SELECT account_id()))
	WITH CHECK (account_id = (SELECT account_id())
		AND organization_id IS NOT DISTINCT FROM (SELECT organization_id()));
CREATE POLICY members ON session FOR SELECT TO app
	USING (organization_id = (SELECT content_organization_id()));
CREATE POLICY mine ON transcript_segment TO app
	USING (account_id = ANY ((SELECT readable_account_ids())::uuid[])
		AND (account_id = (SELECT account_id())
			OR EXISTS (SELECT 1 FROM session s
				WHERE s.account_id = transcript_segment.account_id AND s.id = transcript_segment.session_id
				AND s.organization_id = (SELECT content_organization_id()))))
	WITH CHECK (account_id = (SELECT account_id()));
CREATE POLICY append ON transcript_segment FOR INSERT TO app
	WITH CHECK (account_id = (SELECT account_id()) AND session_id = (SELECT appending_session_id()));
CREATE POLICY owner_updates ON transcript_segment AS RESTRICTIVE FOR UPDATE
	USING (account_id = (SELECT account_id()));
CREATE POLICY owner_deletes ON transcript_segment AS RESTRICTIVE FOR DELETE
	USING (account_id = (SELECT account_id()));
CREATE POLICY mine ON report TO app
	USING (account_id = (SELECT account_id())) WITH CHECK (account_id = (SELECT account_id()));

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA :subject TO app;
