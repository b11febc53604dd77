# A client that speaks PostgreSQL's wire protocol itself: parameters, binary formats and pipelining,
# as drivers use them and psql does not. Protocol 3.0, unix socket, no password.
#
#	use CauceWire;
#	my $wire = CauceWire->connect($cluster, 'app');
#	my $result = $wire->execute('SELECT $1::text', ['a']);             # {rows, sqlstate, error}
#	my $result = $wire->execute($sql, [...], binary => 1);             # parameters and results in binary
package CauceWire;

use strict;
use warnings;
use Carp qw(croak);
use IO::Socket::UNIX;

use constant PROTOCOL => 3 << 16;

# connect opens a connection as a database role. Option: port, of a pooler with a socket beside the server's.
sub connect
{
	my ($class, $cluster, $role, %option) = @_;
	my $port = $option{port} // 5432;
	my $socket = IO::Socket::UNIX->new(Peer => $cluster->host . "/.s.PGSQL.$port") or croak "connect: $!";
	my $self = bless { socket => $socket }, $class;
	my $body = pack('N', PROTOCOL) . join('', map { "$_\0" } user => $role, database => 'cauce') . "\0";

	binmode $socket;
	$socket->autoflush(1);
	print $socket pack('N', 4 + length $body) . $body;
	my $greeting = $self->collect;
	croak $greeting->{error} if $greeting->{sqlstate};
	return $self;
}

# execute runs one statement with parameters by the extended protocol; a name keeps it prepared.
sub execute
{
	my ($self, $sql, $parameters, %option) = @_;
	my $format = pack 'nn', 1, $option{binary} ? 1 : 0;
	my $name = $option{name} // '';
	my $messages = '';

	if (!length $name || !$self->{prepared}{$name}++)
	{
		$messages .= message('P', "$name\0$sql\0" . pack('n', 0));
	}
	$messages .= message('B', "\0$name\0" . $format . pack('n', scalar @{ $parameters // [] })
		  . join('', map { defined ? pack('N/a*', $_) : pack('N', 0xffffffff) } @{ $parameters // [] }) . $format);
	$messages .= message('E', "\0" . pack('N', 0)) . message('S', '');
	print { $self->{socket} } $messages;
	return $self->collect;
}

# forget closes a prepared statement by the protocol, as drivers do behind a pooler that gives such statements names of its own.
sub forget
{
	my ($self, $name) = @_;
	delete $self->{prepared}{$name};
	print { $self->{socket} } message('C', "S$name\0") . message('S', '');
	return $self->collect;
}

# simple runs statements by the simple protocol.
sub simple
{
	my ($self, $sql) = @_;
	print { $self->{socket} } message('Q', "$sql\0");
	return $self->collect;
}

# close ends the connection.
sub close
{
	my ($self) = @_;
	print { $self->{socket} } message('X', '');
	return close $self->{socket};
}

sub message
{
	my ($type, $body) = @_;
	return $type . pack('N', 4 + length $body) . $body;
}

sub bytes
{
	my ($self, $size) = @_;
	my $buffer = '';
	while (length $buffer < $size)
	{
		read($self->{socket}, $buffer, $size - length $buffer, length $buffer) or croak 'the server closed the connection';
	}
	return $buffer;
}

# collect reads until the server is ready for more.
sub collect
{
	my ($self) = @_;
	my %result = (rows => [], sqlstate => '', error => '');

	for (;;)
	{
		my ($type, $size) = unpack 'a N', $self->bytes(5);
		my $body = $size > 4 ? $self->bytes($size - 4) : '';

		return \%result if $type eq 'Z';
		if ($type eq 'D')
		{
			my ($count, $rest) = unpack 'n a*', $body;
			my @row;
			for (1 .. $count)
			{
				my $length = unpack 'N', substr($rest, 0, 4, '');
				push @row, $length == 0xffffffff ? undef : substr $rest, 0, $length, '';
			}
			push @{ $result{rows} }, \@row;
		}
		elsif ($type eq 'E')
		{
			my %field = map { (substr($_, 0, 1), substr($_, 1)) } grep { length } split /\0/, $body;
			@result{qw(sqlstate error)} = ($field{C}, join("\n", map { $field{$_} // '' } qw(M D H W)));
		}
	}
}

1;
