# One psql that stays connected: for tests that need two connections at once, or a transaction that
# is open while something else happens.
#
#	use CauceSession;
#	my $session = CauceSession->open($cluster, app => $token);
#	my $result = $session->try('SELECT …');    # {out, err, sqlstate}, as CauceTest::try_sql
#	my $rows = $session->query('SELECT …');    # dies when it fails
#	$session->close;
package CauceSession;

use strict;
use warnings;
use Carp qw(croak);
use IPC::Run qw(start timer);

# Longest time, in seconds, that one statement may take.
use constant TIMEOUT => 60;

# open connects as a database role; a token, when given, holds for the whole session. Options: database and over, as
# for CauceTest::try_sql.
sub open
{
	my ($class, $cluster, $role, $token, %option) = @_;
	my $self = bless { in => '', out => '', err => '', serial => 0 }, $class;

	$self->{timer} = timer(TIMEOUT);
	{
		local $ENV{CAUCE_TEST_TOKEN} = $token // '';
		$self->{run} = start [ 'psql', '-XAtq', '-d', join(' ', $cluster->dsn($role, $option{database}), $option{over} // ()) ],
		  '<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer};
	}
	$self->query("\\set VERBOSITY verbose\n\\getenv token CAUCE_TEST_TOKEN");
	$self->query(q{SELECT set_config('cauce.token', :'token', false) \g /dev/null}) if defined $token;
	return $self;
}

# try runs statements, each ended by a semicolon but for the last, and waits for their end.
sub try
{
	my ($self, $sql) = @_;
	my $marker = 'end of ' . ++$self->{serial};

	$self->{out} = $self->{err} = '';
	$sql .= ';' if $sql !~ /;\s*$/ && $sql !~ /\\\w[^;]*$/;
	$self->{in} .= "$sql\n\\echo $marker\n\\warn $marker\n";
	$self->{timer}->start(TIMEOUT);
	$self->{run}->pump until $self->{out} =~ /^$marker\n/m && $self->{err} =~ /^$marker\n/m;
	$self->{timer}->reset;

	my ($out, $err) = ($self->{out} =~ s/^$marker\n//mr, $self->{err} =~ s/^$marker\n//mr);
	chomp $out;
	my ($sqlstate) = $err =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/;
	return { out => $out, err => $err, sqlstate => $sqlstate // '' };
}

# query is try for what must not fail; it gives the rows.
sub query
{
	my ($self, $sql) = @_;
	my $result = $self->try($sql);
	croak "SQL failed: $result->{err}" if $result->{sqlstate};
	return $result->{out};
}

# close disconnects.
sub close
{
	my ($self) = @_;
	$self->{in} .= "\\q\n";
	$self->{run}->finish;
	return;
}

1;
