# Every role and identity, on every table and view of cauce's and on a protected table, by every
# statement, on own rows, rows of the same organization and rows of others: exactly what design.md
# section 7 allows. What is expected is written once, in the table below.
#
# A relation that the catalog has and the table does not name fails the test. To add one: a line in
# %relation that says how its rows are told apart and written, a row for each account in the fixture,
# and the lines of the expectation. CAUCE_MATRIX_DUMP=1 in the environment prints what is, to compare with the design.
use strict;
use warnings;
use CauceTest;
use Test::More;

# Each cell has three signs, for own rows, rows of the same organization, rows of others:
#	!  read in clear     ~  read as cauce1:…     +  reached (a row without content; written; locked)
#	-  not there         x  refused              .  there are no such rows, or columns
#	c  allowed, but for a constraint
# SELECT reads the key, content the sealed column; COPY is of the table, query of a query, FROM a file.
# Whoever is not listed is refused everything. Several may share a line; members are all accounts.
my @operations = qw(SELECT content INSERT UPDATE DELETE TRUNCATE COPY query FROM MERGE LOCK);
my $expectation = <<'TABLE';
                                               |                                      | SEL con INS UPD DEL TRU COP que FRO MER LOC
organization                                   | members                              | +.- +.- x.x x.x x.x x.x +.- +.- x.x x.x x.x
organization                                   | stream / support                     | -.- -.- x.x x.x x.x x.x -.- -.- x.x x.x x.x
organization                                   | operator                             | ..+ ..+ ..x ..x ..x ..x ..+ ..+ ..x ..x ..x
organization                                   | owner                                | ..- ..- ..x ..- ..- ..x ..- ..- ..x ..- ..-
organization                                   | superuser                            | ..+ ..+ ..+ ..+ ..c ..x ..+ ..+ ..+ ..+ ..+
organization                                   | superuser as one                     | +.+ +.+ +.+ +.+ c.c x.x +.+ +.+ +.+ +.+ +.+
organization                                   | nobody                               | ..- ..- ..x ..x ..x ..x ..- ..- ..x ..x ..x

account                                        | professional                         | +-- !-- xxx +-- xxx xxx !-- !-- xxx +-- +--
account                                        | admin sessions / admin content       | ++- !~- xxx +-- xxx xxx !~- !~- xxx +x- +--
account                                        | support                              | --- --- xxx --- xxx xxx --- --- xxx --- ---
account                                        | stream                               | --- --- xxx --- xxx xxx --- --- xxx --- ---
account                                        | operator                             | ..+ ..x ..x ..x ..x ..x ..x ..x ..x ..x ..x
account                                        | owner                                | ..- ..- ..x ..- ..- ..x ..- ..- ..x ..- ..-
account                                        | superuser                            | ..+ ..~ ..+ ..+ ..c ..x ..~ ..~ ..+ ..+ ..+
account                                        | superuser as one                     | +++ !~~ +++ +++ ccc xxx !~~ !~~ +++ +++ +++
account                                        | nobody                               | ..- ..- ..x ..- ..x ..x ..- ..- ..x ..- ..-

session                                        | professional                         | +-- !-- +xx +-- +-- xxx !-- !-- xxx +-- +--
session                                        | admin sessions                       | ++- !~- +xx +-- +-- xxx !~- !~- xxx +x- +--
session                                        | admin content                        | ++- !!- +xx +-- +-- xxx !!- !!- xxx +x- +--
session                                        | support                              | +-- !-- xxx --- --- xxx !-- !-- xxx x-- ---
session                                        | stream                               | --- --- xxx --- --- xxx --- --- xxx --- ---
session                                        | operator                             | ..+ ..x ..x ..x ..x ..x ..x ..x ..x ..x ..x
session                                        | owner / nobody                       | ..- ..- ..x ..- ..- ..x ..- ..- ..x ..- ..-
session                                        | superuser                            | ..+ ..~ ..+ ..+ ..+ ..x ..~ ..~ ..+ ..+ ..+
session                                        | superuser as one                     | +++ !~~ +++ +++ +++ xxx !~~ !~~ +++ +++ +++

transcript_segment, alert                      | professional / admin sessions        | +-- !-- +xx +-- +-- xxx !-- !-- xxx +-- +--
transcript_segment, alert                      | admin content                        | ++- !!- +xx +-- +-- xxx !!- !!- xxx +x- +--
transcript_segment, alert, report, public.note | support                              | +-- !-- xxx --- --- xxx !-- !-- xxx x-- ---
transcript_segment, alert                      | stream                               | --- --- +xx --- --- xxx --- --- xxx --- ---
transcript_segment, alert                      | stream, worker                       | xxx xxx +xx xxx xxx xxx xxx xxx xxx xxx xxx
transcript_segment, alert                      | owner / nobody                       | ..- ..- ..x ..- ..- ..x ..- ..- ..x ..- ..-
transcript_segment, alert                      | superuser                            | ..+ ..~ ..+ ..+ ..+ ..x ..~ ..~ ..+ ..+ ..+
transcript_segment, alert                      | superuser as one                     | +++ !~~ +++ +++ +++ xxx !~~ !~~ +++ +++ +++

report, public.note                            | professional / admin sessions        | +-- !-- +xx +-- +-- xxx !-- !-- xxx +-- +--
report, public.note                            | admin content                        | ++- !!- +xx +-- +-- xxx !!- !!- xxx +x- +--
report, public.note                            | stream                               | --- --- xxx --- --- xxx --- --- xxx --- ---
report, public.note                            | owner / nobody                       | ..- ..- ..x ..- ..- ..x ..- ..- ..x ..- ..-
report, public.note                            | superuser                            | ..+ ..~ ..+ ..+ ..+ ..x ..~ ..~ ..+ ..+ ..+
report, public.note                            | superuser as one                     | +++ !~~ +++ +++ +++ xxx !~~ !~~ +++ +++ +++

archived_session                               | professional                         | +-- +-- xxx xxx +-- xxx +-- +-- xxx xxx xxx
archived_session                               | admin sessions / admin content       | ++- ++- xxx xxx +-- xxx ++- ++- xxx xxx xxx
archived_session                               | support                              | --- --- xxx xxx --- xxx --- --- xxx xxx xxx
archived_session                               | stream                               | --- --- xxx xxx --- xxx --- --- xxx xxx xxx
archived_session                               | owner                                | ..- ..- ..x ..- ..- ..x ..- ..- ..x ..- ..-
archived_session                               | superuser                            | ..+ ..+ ..+ ..+ ..+ ..x ..+ ..+ ..+ ..+ ..+
archived_session                               | superuser as one                     | +++ +++ +++ +++ +++ xxx +++ +++ +++ +++ +++
archived_session                               | nobody                               | ..- ..- ..x ..x ..- ..x ..- ..- ..x ..x ..x

alert_rule                                     | members                              | +-- +-- +xx +-- +-- xxx +-- +-- xxx +-- +--
alert_rule                                     | stream / support                     | --- --- xxx --- --- xxx --- --- xxx --- ---
alert_rule                                     | owner                                | ..- ..- ..x ..- ..- ..+ ..- ..- ..x ..- ..-
alert_rule                                     | superuser                            | ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+
alert_rule                                     | superuser as one                     | +++ +++ +++ +++ +++ +++ +++ +++ +++ +++ +++
alert_rule                                     | nobody                               | ..- ..- ..x ..- ..- ..x ..- ..- ..x ..- ..-

transcript                                     | professional / admin sessions        | +-- !-- xxx xxx xxx xxx xxx !-- xxx xxx xxx
transcript                                     | admin content                        | ++- !!- xxx xxx xxx xxx xxx !!- xxx xxx xxx
transcript                                     | support                              | +-- !-- xxx xxx xxx xxx xxx !-- xxx xxx xxx
transcript                                     | stream                               | --- --- xxx xxx xxx xxx xxx --- xxx xxx xxx
transcript                                     | superuser                            | ..+ ..x ..c ..x ..+ ..x ..x ..x ..x ..x ..x
transcript                                     | superuser as one                     | +++ !xx ccc xxx +++ xxx xxx !xx xxx xxx +xx
transcript                                     | nobody                               | ..- ..- ..x ..x ..x ..x ..x ..- ..x ..x ..x

my_access_log                                  | members                              | +-- +-- xxx xxx xxx xxx xxx +-- xxx xxx xxx
my_access_log                                  | stream / support                     | --- --- xxx xxx xxx xxx xxx --- xxx xxx xxx
my_access_log                                  | superuser                            | ..- ..- ..c ..x ..x ..x ..x ..- ..x ..x ..-
my_access_log                                  | superuser as one                     | +-- +-- ccc xxx xxx xxx xxx +-- xxx xxx +--
my_access_log                                  | nobody                               | ..- ..- ..x ..x ..x ..x ..x ..- ..x ..x ..x

audit_log                                      | professional                         | +-- +-- xxx xxx xxx xxx +-- +-- xxx xxx xxx
audit_log                                      | admin sessions / admin content       | ++- ++- xxx xxx xxx xxx ++- ++- xxx xxx xxx
audit_log                                      | stream / support                     | --- --- xxx xxx xxx xxx --- --- xxx xxx xxx
audit_log                                      | auditor                              | ..+ ..+ ..x ..x ..x ..x ..+ ..+ ..x ..x ..x
audit_log                                      | owner                                | ..- ..- ..x ..x ..x ..x ..- ..- ..x ..x ..-
audit_log                                      | nobody                               | ..- ..- ..x ..x ..x ..x ..- ..- ..x ..x ..x
audit_log                                      | superuser                            | ..+ ..+ ..+ ..x ..x ..x ..+ ..+ ..+ ..x ..+
audit_log                                      | superuser as one                     | +++ +++ +++ xxx xxx xxx +++ +++ +++ xxx +++

erasure_certificate                            | members                              | +-- +-- xxx xxx xxx xxx +-- +-- xxx xxx xxx
erasure_certificate                            | stream / support                     | --- --- xxx xxx xxx xxx --- --- xxx xxx xxx
erasure_certificate                            | auditor                              | ..+ ..+ ..x ..x ..x ..x ..+ ..+ ..x ..x ..x
erasure_certificate                            | owner                                | ..- ..- ..x ..x ..x ..x ..- ..- ..x ..x ..-
erasure_certificate                            | superuser                            | ..+ ..+ ..+ ..x ..x ..x ..+ ..+ ..+ ..x ..+
erasure_certificate                            | superuser as one                     | +++ +++ +++ xxx xxx xxx +++ +++ +++ xxx +++
erasure_certificate                            | nobody                               | ..- ..- ..x ..x ..x ..x ..- ..- ..x ..x ..x

data_key                                       | owner                                | ..- ..- ..x ..- ..- ..+ ..- ..- ..x ..- ..-
data_key                                       | superuser                            | ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+
data_key                                       | superuser as one                     | +++ +++ +++ +++ +++ +++ +++ +++ +++ +++ +++

break_glass_grant                              | members / support                    | +-- +-- xxx xxx xxx xxx +-- +-- xxx xxx xxx
break_glass_grant                              | stream                               | --- --- xxx xxx xxx xxx --- --- xxx xxx xxx
break_glass_grant                              | auditor                              | ..+ ..+ ..x ..x ..x ..x ..+ ..+ ..x ..x ..x
break_glass_grant                              | owner                                | ..- ..- ..x ..- ..- ..+ ..- ..- ..x ..- ..-
break_glass_grant                              | superuser                            | ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+
break_glass_grant                              | superuser as one                     | +++ +++ +++ +++ +++ +++ +++ +++ +++ +++ +++
break_glass_grant                              | nobody                               | ..- ..- ..x ..x ..x ..x ..- ..- ..x ..x ..x

invitation                                     | professional                         | +-- +-- xxx xxx xxx xxx +-- +-- xxx xxx xxx
invitation                                     | admin sessions / admin content       | ++- ++- xxx xxx xxx xxx ++- ++- xxx xxx xxx
invitation                                     | stream / support                     | --- --- xxx xxx xxx xxx --- --- xxx xxx xxx
invitation                                     | owner                                | ..- ..- ..x ..- ..- ..+ ..- ..- ..x ..- ..-
invitation                                     | superuser                            | ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+
invitation                                     | superuser as one                     | +++ +++ +++ +++ +++ +++ +++ +++ +++ +++ +++
invitation                                     | nobody                               | ..- ..- ..x ..x ..x ..x ..- ..- ..x ..x ..x

key_rotation, retention_failure, stored_bundle | operator                             | ..+ ..+ ..x ..x ..x ..x ..+ ..+ ..x ..x ..x
key_rotation, retention_failure, stored_bundle | owner                                | ..- ..- ..x ..- ..- ..+ ..- ..- ..x ..- ..-
key_rotation, retention_failure, stored_bundle | superuser                            | ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+
key_rotation, retention_failure, stored_bundle | superuser as one                     | +++ +++ +++ +++ +++ +++ +++ +++ +++ +++ +++

rotation_status                                | operator                             | ..+ ..+ ..x ..x ..x ..x ..x ..+ ..x ..x ..x
rotation_status                                | superuser                            | ..+ ..+ ..x ..x ..x ..x ..x ..+ ..x ..x ..x
rotation_status                                | superuser as one                     | +++ +++ xxx xxx xxx xxx xxx +++ xxx xxx xxx

due_session                                    | operator                             | ..+ ..+ ..x ..x ..x ..x ..x ..+ ..x ..x ..x
due_session                                    | superuser                            | ..+ ..+ ..x ..x ..x ..x ..x ..+ ..x ..x ..+
due_session                                    | superuser as one                     | +++ +++ xxx xxx xxx xxx xxx +++ xxx xxx +++

retention_run                                  | operator                             | ..+ ..+ ..x ..x ..x ..x ..+ ..+ ..x ..x ..x
retention_run                                  | owner                                | ..- ..- ..x ..- ..- ..+ ..- ..- ..x ..- ..-
retention_run                                  | superusers                           | ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+

retention_status, key_status, protect_progress | operator                             | ..+ ..+ ..x ..x ..x ..x ..x ..+ ..x ..x ..x
retention_status, key_status, protect_progress | superusers                           | ..+ ..+ ..x ..x ..x ..x ..x ..+ ..x ..x ..+

storage_status                                 | operator                             | ..+ ..+ ..x ..x ..x ..x ..x ..+ ..x ..x ..x
storage_status                                 | superusers                           | ..+ ..+ ..x ..x ..x ..x ..x ..+ ..x ..x ..x

key_signal                                     | superusers                           | ..+ ..+ ..x ... ..x ..x ..x ..+ ... ... ..+

protected_table                                | members / support / stream / operator / nobody | ..+ ..+ ..x ..x ..x ..x ..x ..+ ..x ..x ..x
protected_table                                | superusers                           | ..+ ..+ ..x ..x ..x ..x ..x ..+ ..x ..x ..+

former_name, clock                             | owner                                | ..- ..- ..x ..- ..- ..+ ..- ..- ..x ..- ..-
clock                                          | superusers                           | ..+ ..+ ..c ..+ ..+ ..+ ..+ ..+ ..c ..+ ..+
former_name                                    | superusers                           | ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+

protect_job                                    | owner                                | ..- ..- ..x ..- ..- ..+ ..- ..- ..x ..- ..-
protect_job                                    | superusers                           | ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+ ..+
TABLE

# What each relation's rows are told apart by, its sealed (or else another) column, a column to update,
# and the columns and values of a row. {account} and the like stand for what the row's account has.
my %relation = (
	organization => { key => 'id', content => 'name', set => 'name', organization => 1, row => [ name => q{'x'} ] },
	account => { key => 'id', content => 'display_name', sealed => 1, set => 'display_name', row => [ subject => q{'x'}, organization_id => '{organization}' ] },
	session => { key => 'account_id', content => 'title', sealed => 1, set => 'title', row => [ account_id => '{account}', organization_id => '{organization}' ] },
	transcript_segment => { key => 'account_id', content => 'body', sealed => 1, set => 'body',
		row => [ account_id => '{account}', session_id => '{session}', seq => 99, start_ms => 0, end_ms => 0, body => q{'x'} ] },
	report => { key => 'account_id', content => 'body', sealed => 1, set => 'body', row => [ account_id => '{account}', session_id => '{session}', body => q{'x'} ] },
	alert => { key => 'account_id', content => 'detail', sealed => 1, set => 'detail', row => [ account_id => '{account}', session_id => '{session}', kind => q{'x'} ] },
	archived_session => { key => 'account_id', content => 'bundle', set => 'bundle', row => [ account_id => '{account}', id => '{session}',
		started_at => q{'2026-01-01'}, archived_at => q{'2026-01-01'}, delete_after => q{'2026-01-01'}, bundle => q{''} ] },
	data_key => { key => 'account_id', content => 'wrapped', set => 'wrapped', row => [ account_id => '{account}', id => '{session}', session_id => '{session}',
		epoch => q{'2026-01-01'}, generation => 9, wrapped => q{''} ] },
	key_rotation => { key => 'account_id', content => 'keys', set => 'keys', row => [ account_id => '{account}', made_before => q{'2026-01-01'}, keys => 1 ] },
	erasure_certificate => { key => 'account_id', content => 'jws', set => 'jws', row => [ account_id => '{account}', subject => q{'session'}, reason => q{'x'},
		counts => q{'{}'}, erased_at => q{'2026-01-01'}, previous_digest => q{'x'}, jws => q{'x'} ] },
	audit_log => { key => 'account_id', content => 'reason', set => 'reason', row => [ account_id => '{account}', at => q{'2026-01-01'}, actor => q{'x'},
		role => q{'x'}, action => q{'x'}, id => q{'00000000-0000-4000-8000-000000000000'}, chain => '{account}', previous_digest => q{'x'}, digest => q{'x'}, jws => q{'x'} ] },
	break_glass_grant => { key => 'account_id', content => 'reason', set => 'reason', row => [ account_id => '{account}', grantee_id => '{account}', reason => q{'x'}, until => 'now()' ] },
	invitation => { key => q{' ' || subject}, content => 'role', set => 'role', subject => 1 },
	retention_run => { key => q{'server'}, content => 'message', set => 'message', server => 1, row => [ started_at => q{'2026-01-01'} ] },
	retention_failure => { key => 'account_id', content => 'sqlstate', set => 'attempts', row => [ account_id => '{account}', session_id => '{other session}',
		sqlstate => q{'x'}, attempts => 1, failed_at => q{'2026-01-01'}, retry_at => q{'2026-01-01'} ] },
	stored_bundle => { key => 'account_id', content => 'message', set => 'attempts', row => [ account_id => '{account}', session_id => '{other session}',
		digest => q{'0123456789abcdef0123456789abcdef'}, bytes => 1 ] },
	protect_job => { key => q{'server'}, content => 'phase', set => 'phase', server => 1, row => [ '"table"' => q{'cauce.report'}, session_column => q{'x'},
		encrypt => q{'{}'}, rows_total => 1 ] },
	clock => { key => q{'server'}, content => 'seen_at', set => 'seen_at', server => 1, row => [ one => 'true', seen_at => q{'2026-01-01'} ] },
	former_name => { key => q{'server'}, content => 'former_table', set => 'former_table', server => 1,
		row => [ former_schema => q{'x'}, former_table => q{'x'}, schema => q{'x'}, '"table"' => q{'x'} ] },
	alert_rule => { key => 'account_id', content => 'pattern', set => 'pattern', row => [ account_id => '{account}', pattern => q{'x'}, kind => q{'x'} ] },
	'public.note' => { key => 'account_id', content => 'body', sealed => 1, set => 'body', row => [ id => 99, account_id => '{account}', session => '{session}', body => q{'x'} ] },
	transcript => { key => 'account_id', content => 'line', sealed => 1, set => 'line', row => [ account_id => '{account}' ] },
	due_session => { key => 'account_id', content => 'reason', set => 'reason', row => [ account_id => '{account}' ] },
	my_access_log => { key => q{substr(reason, length('audit_log of '))}, content => 'reason', set => 'reason', subject => 1, row => [ reason => q{'x'} ] },
	rotation_status => { key => 'account_id', content => 'keys', set => 'keys', row => [ account_id => '{account}' ] },
	protected_table => { key => q{'server'}, content => 'session_column', set => 'session_column', server => 1, row => [ session_column => q{'x'} ] },
	protect_progress => { key => q{'server'}, content => 'phase', set => 'phase', server => 1, row => [ phase => q{'x'} ] },
	storage_status => { key => q{'server'}, content => 'here', set => 'here', server => 1, row => [ here => 1 ] },
	retention_status => { key => q{'server'}, content => 'backlog', set => 'backlog', server => 1, row => [ backlog => 1 ] },
	key_status => { key => q{'server'}, content => 'epoch', set => 'epoch', server => 1, row => [ epoch => q{'2026-01-01'} ] },
	key_signal => { key => q{'server'}, content => '1', server => 1, row => [] },
);

# Time does not run in between, so that what is due stays.
my $cluster = CauceTest->start(settings => 'cauce.retention_naptime = 1d');
my %organization = ('north-pro' => 'north', 'north-pro2' => 'north', 'north-admin' => 'north', 'south-pro' => 'south', 'south-admin' => 'south', solo => '');
my @subjects = sort keys %organization;
my %token = map { $_ => $cluster->token($_) } @subjects;

# The fixture: a row of each table for each account.
$cluster->superuser(q{
	CREATE ROLE worker LOGIN IN ROLE cauce_stream; CREATE ROLE operator LOGIN IN ROLE cauce_operator;
	CREATE ROLE auditor LOGIN IN ROLE cauce_auditor; CREATE ROLE desk LOGIN IN ROLE cauce_app, cauce_support; CREATE ROLE stranger LOGIN;
	SELECT cauce.create_organization('west'), cauce.create_account('helper'), cauce.create_account('absent helper'); CREATE ROLE keeper LOGIN;
	CREATE TABLE public.note (id integer PRIMARY KEY, session uuid, body text);
	SELECT cauce.protect('public.note', 'session', '{body}');
	GRANT SELECT, INSERT, UPDATE, DELETE ON public.note TO cauce_app});
my %account = map { split /\|/ } split /\n/, $cluster->superuser('SELECT subject, id FROM cauce.account');
my %home = map { split /\|/ } split /\n/, $cluster->superuser('SELECT name, id FROM cauce.organization');
$relation{invitation}{row} = [ organization_id => "'$home{south}'", subject => q{'x'}, role => q{'admin'}, invited_by => "'$account{'south-admin'}'" ];
my (%session, $serial);
for my $who (@subjects)
{
	my ($live, $due, $archived, $gone) = split /\n/, $cluster->sql(app => $token{$who},
		"INSERT INTO cauce.session (title, retention_days) SELECT 'session of $who', nullif(n, 4) FROM (VALUES (4), (1), (4), (4)) v (n) RETURNING id");
	$session{$who} = $live;
	$cluster->sql(app => $token{$who}, "UPDATE cauce.account SET display_name = 'account of $who' WHERE id = cauce.account_id();
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES ('$live', 0, 0, 1, 'transcript_segment of $who');
		INSERT INTO cauce.report (session_id, body) VALUES ('$live', 'report of $who');
		INSERT INTO cauce.alert (session_id, kind, detail) VALUES ('$live', 'x', 'alert of $who');
		INSERT INTO cauce.alert_rule (account_id, pattern, kind) VALUES (cauce.account_id(), 'x', 'x');
		INSERT INTO public.note (id, session, body) VALUES (@{[ ++$serial ]}, '$live', 'note of $who');
		SELECT cauce.archive_session('$archived'); DELETE FROM cauce.session WHERE id = '$gone'");
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '2 days' WHERE id = '$due';
		SELECT cauce.record_change('x', id, organization_id, '$live', 'audit_log of $who') FROM cauce.account WHERE subject = '$who';
		INSERT INTO cauce.invitation (organization_id, subject, role, invited_by) VALUES ('$home{$organization{$who} || 'west'}', '$who', 'professional', '$account{$who}');
		INSERT INTO cauce.break_glass_grant (account_id, grantee_id, reason, until) SELECT '$account{$who}', id, 'x', now() + interval '1 hour'
			FROM cauce.account WHERE subject = '@{[ $who eq 'north-pro' ? 'helper' : 'absent helper' ]}';
		INSERT INTO cauce.retention_failure (account_id, session_id, sqlstate, attempts, failed_at, retry_at) VALUES ('$account{$who}', '$live', 'x', 1, now(), now());
		INSERT INTO cauce.stored_bundle (account_id, session_id, digest, bytes) VALUES ('$account{$who}', '$live', sha256('y'), 1);
		INSERT INTO cauce.key_rotation (account_id, made_before, keys, finished_at) VALUES ('$account{$who}', '2026-01-01', 1, now())");
}
$cluster->superuser(q{INSERT INTO cauce.retention_run (started_at) VALUES (now()); INSERT INTO cauce.clock (seen_at) VALUES (now()) ON CONFLICT DO NOTHING;
	INSERT INTO cauce.former_name (former_schema, former_table, schema, "table") VALUES ('x', 'x', 'y', 'y');
	INSERT INTO cauce.protect_job ("table", session_column, encrypt, rows_total) VALUES ('public.note', 'session', '{body}', 1)});
my $stream = $cluster->sql(app => $token{'north-pro'}, "SELECT cauce.stream_token('$session{'north-pro'}')");

# Who asks: the group in the expectation, the login, the token, whose rows are their own, and SQL around it all.
my $content = q{UPDATE cauce.organization SET admin_access = '%s' WHERE name = 'north'};
my $own_all = join '; ', map { "ALTER TABLE cauce.$_ OWNER TO %s" } split /\n/, $cluster->superuser(
	q{SELECT relname FROM pg_class WHERE relnamespace = 'cauce'::regnamespace AND relkind = 'r' ORDER BY 1});
my @identities = (
	(map { [ professional => app => $_ => $token{$_} ] } qw(north-pro north-pro2 south-pro solo)),
	(map { [ 'admin sessions' => app => $_ => $token{$_} ] } qw(north-admin south-admin)),
	[ 'admin content' => app => 'north-admin' => $token{'north-admin'}, sprintf($content, 'content'), sprintf($content, 'sessions') ],
	[ support => desk => 'north-pro' => $cluster->token('helper') ], # own is what break_glass() has opened
	[ stream => app => 'north-pro' => $stream ],
	[ 'stream, worker' => worker => 'north-pro' => $stream ],
	[ operator => 'operator' ],
	[ auditor => 'auditor' ],
	[ superuser => 'postgres' ],
	[ 'superuser as one' => postgres => 'north-pro' => $token{'north-pro'} ],
	[ nobody => 'app' ],
	[ stranger => 'stranger' ],
	# What is cauce's works as its tables' owner, the audit log of such changes as well.
	[ owner => keeper => undef, undef, 'ALTER EVENT TRIGGER cauce_altered DISABLE;' . sprintf($own_all =~ s/%s/keeper/gr) . '; GRANT USAGE ON SCHEMA cauce TO keeper; GRANT ALL ON public.note TO keeper',
		sprintf($own_all =~ s/%s/postgres/gr) . '; DROP OWNED BY keeper; ALTER EVENT TRIGGER cauce_altered ENABLE ALWAYS' ],
);

# group_of gives the accounts (or organizations) of each category of rows, as one who asks sees them.
sub group_of
{
	my ($relation, $who) = @_;
	my $mine = defined $who ? $organization{$who} : '';
	my %group = (own => [], same => [], other => []);

	return { %group, other => ['server'] } if $relation->{server};
	if ($relation->{organization})
	{
		push @{ $group{ $_ eq $mine ? 'own' : 'other' } }, $home{$_} for sort keys %home;
		return \%group;
	}
	for my $subject (@subjects)
	{
		my $category = defined $who && $subject eq $who ? 'own' : $mine ne '' && $organization{$subject} eq $mine ? 'same' : 'other';
		push @{ $group{$category} }, $relation->{subject} ? " $subject" : $account{$subject};
	}
	return \%group;
}

# statement gives one operation's SQL on the rows of one category.
sub statement
{
	my ($operation, $name, $relation, @keys) = @_;
	my $table = $name =~ /\./ ? $name : "cauce.$name";
	my %column = @{ $relation->{row} };
	my ($subject) = grep { $account{$_} eq ($keys[0] // '') } @subjects;
	my %fill = (account => $keys[0] // '', session => $session{ $subject // '' } // '', 'other session' => '00000000-0000-4000-8000-000000000000',
		organization => $home{ $organization{ $subject // '' } || '' } // '');
	my %value = map { $_ => $column{$_} =~ s/\{([a-z ]+)\}/$fill{$1} eq '' ? 'NULL' : "'$fill{$1}'"/er } keys %column;
	my @columns = sort keys %value;
	my $in = join ', ', map { "'$_'" } @keys;
	my $where = "WHERE $relation->{key}::text IN ($in)";

	return "SELECT $relation->{key}, 'a row' FROM $table $where" if $operation eq 'SELECT';
	return "SELECT $relation->{key}, $relation->{content} FROM $table $where" if $operation eq 'content';
	return "INSERT INTO $table DEFAULT VALUES" if $operation eq 'INSERT' && !@columns;
	return "INSERT INTO $table (" . join(', ', @columns) . ') VALUES (' . join(', ', @value{@columns}) . ')' if $operation eq 'INSERT';
	return "UPDATE $table SET $relation->{set} = $relation->{set} $where" if $operation eq 'UPDATE';
	return "DELETE FROM $table $where" if $operation eq 'DELETE';
	return "TRUNCATE $table CASCADE" if $operation eq 'TRUNCATE';
	return "COPY $table TO STDOUT" if $operation eq 'COPY';
	return "COPY (SELECT $relation->{key}, $relation->{content} FROM $table $where) TO STDOUT" if $operation eq 'query';
	return "COPY $table (" . join(', ', @columns) . ") FROM STDIN (NULL 'NULL');\n" . join("\t", map { s/^'(.*)'$/$1/r } @value{@columns}) . "\n\\."
	  if $operation eq 'FROM';
	return "MERGE INTO $table t USING (VALUES ($in)) v (k) ON t.$relation->{key}::text = v.k WHEN MATCHED THEN UPDATE SET $relation->{set} = t.$relation->{set}"
	  =~ s/\(VALUES \((.*?)\)\)/"(VALUES " . join(', ', map { "($_)" } split m{, }, $1) . ")"/er =~ s/t\.'/'/r =~ s/t\.substr/substr/r if $operation eq 'MERGE';
	return "SELECT $relation->{key} FROM $table $where FOR UPDATE" if $operation eq 'LOCK';
	die $operation;
}

# Errors that refuse; any other one is a mistake of this test's.
my %refusal = map { $_ => 1 } qw(42501 28000 0A000 42809 55000 428C9);

# sign tells what came of one statement.
sub sign
{
	my ($operation, $name, $relation, $keys, $sqlstate, $count, @rows) = @_;

	if ($sqlstate ne '00000')
	{
		return $refusal{$sqlstate} ? 'x' : $sqlstate =~ /^23/ ? 'c' : "?$sqlstate";
	}
	return '+' if $operation eq 'TRUNCATE';
	return $count > 0 ? '+' : '-' if $operation =~ /^(INSERT|UPDATE|DELETE|FROM|MERGE|LOCK)$/;
	@rows = grep { my $row = $_ =~ tr/\t/ /r; grep { $row =~ /\Q$_\E(?![\w-])/ || $_ eq 'server' } @$keys } @rows if $operation eq 'COPY';
	return '-' if !@rows;
	if (!$relation->{server})
	{
		# All of a category or none of it.
		my @missing = grep { my $key = $_; !grep { tr/\t/ /r =~ /\Q$key\E(?![\w-])/ } @rows } @$keys;
		return '?' if @missing;
	}
	return '+' if $operation eq 'SELECT' || !$relation->{sealed};
	my $clear = grep { /\b\w+ of [\w-]+/ } @rows;
	my $sealed = grep { /cauce1:/ } @rows;
	return $clear && !$sealed ? '!' : $sealed && !$clear ? '~' : '?';
}

# observe gives the row of cells of one identity: relation => cells.
sub observe
{
	my ($login, $who, $token) = @_;
	my (@script, @plan, %cells);

	for my $name (sort keys %relation)
	{
		my $group = group_of($relation{$name}, $who);
		for my $operation (@operations)
		{
			for my $category (qw(own same other))
			{
				my $keys = $group->{$category};
				push @plan, [ $name, $operation, $keys ];
				next if !@$keys || ($operation =~ /^(UPDATE|FROM|MERGE)$/ && !$relation{$name}{set});
				push @script, "\\echo @@ $#plan\n\\warn @@ $#plan\nBEGIN;", statement($operation, $name, $relation{$name}, @$keys) =~ s/(?<!\\\.)\z/;/r, '\echo == :ROW_COUNT', 'ROLLBACK;';
			}
		}
	}
	my $result = $cluster->try_sql($login => $token, join "\n", '\set ON_ERROR_STOP off', @script);
	my %came = map { /^(\d+)\n(.*)/s ? ($1, $2) : () } split /^@@ /m, $result->{out};
	# Of a COPY that fails half-way psql's SQLSTATE is that of success in 15, and empty in 17 and 18.
	my %error = map { /^(\d+)\n.*?^ERROR:\s+(\w{5}):/ms ? ($1, $2) : () } split /^@@ /m, $result->{err};
	for my $n (0 .. $#plan)
	{
		my ($name, $operation, $keys) = @{ $plan[$n] };
		my $sign = '.';
		if (defined $came{$n})
		{
			my ($rows, $count) = $came{$n} =~ /^(.*?)^== (\d+)$/ms;
			die "$name, $operation: nothing came back\n$result->{err}" if !defined $count;
			$sign = sign($operation, $name, $relation{$name}, $keys, $error{$n} // '00000', $count, split /\n/, $rows);
		}
		$cells{$name}{$operation} .= $sign;
	}
	return \%cells;
}

# The expectation: relation => group => cells.
my %stands_for = (members => [ 'professional', 'admin sessions', 'admin content' ], superusers => [ 'superuser', 'superuser as one' ]);
my %expected;
for (split /\n/, $expectation)
{
	my ($names, $groups, $cells) = /^(\w\S+(?:, \S+)*)\s*\| ([^|]+?)\s*\|\s*(.+)$/ or next;
	for my $name (split /, /, $names)
	{
		$expected{$name}{$_} = [ split ' ', $cells ] for map { @{ $stands_for{$_} // [$_] } } split m{ / }, $groups;
	}
}

my %listed = map { $_ => 1 } split /\n/, $cluster->superuser(q{SELECT relname FROM pg_class
	WHERE relnamespace = 'cauce'::regnamespace AND relkind IN ('r', 'v', 'm', 'p', 'f')});
is_deeply([ grep { !$expected{$_} || !$relation{$_} } sort keys %listed ], [], 'every table and view of the schema has its lines here');
is_deeply([ grep { !$listed{$_} && !/\./ } sort keys %relation ], [], 'and nothing else has');

# agrees compares a cell with what is expected: where there are no such rows, nothing is.
sub agrees
{
	my ($cell, $wanted) = @_;
	for my $i (0 .. 2)
	{
		my ($is, $should) = (substr($cell, $i, 1), substr($wanted, $i, 1));
		return 0 if $is ne '.' && $is ne $should;
	}
	return length $cell == 3;
}

for (@identities)
{
	my ($group, $login, $who, $token, $before, $after) = @$_;
	subtest join(', ', grep { defined } $group, $login, $who) => sub {
		$cluster->superuser($before) if $before;
		my $cells = observe($login, $who, $token);
		for my $name (sort keys %relation)
		{
			my $line = $expected{$name}{$group} // [ ('xxx') x @operations ];
			my @wrong = map { agrees($cells->{$name}{ $operations[$_] }, $line->[$_] // '') ? () : "$operations[$_] is $cells->{$name}{ $operations[$_] } and should be $line->[$_]" }
			  0 .. $#operations;
			is("@wrong", '', $name);
			diag sprintf 'DUMP %-20s | %-16s | %s', $name, $group, join ' ', map { $cells->{$name}{$_} } @operations if $ENV{CAUCE_MATRIX_DUMP};
		}
		$cluster->superuser($after) if $after;
	};
}

done_testing;
