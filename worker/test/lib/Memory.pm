# The memory of another process, and what of a stream of audio is in it. Reading it takes root.
package Memory;

use strict;
use warnings;
no warnings 'portable';    # addresses have 64 bits
use Exporter 'import';
use Worker;

our @EXPORT = qw(locked needles pieces occurrences);

my $stride = 0.005;           # seconds; each has a key of its own by which it is found
my $key_samples = 4;
my $soft = 0.004;             # of full scale: what is softer is not distinctive
my $longest = 1 << 16;        # bytes of a piece that are compared to each side of a key

# regions calls back with the name and contents of each readable mapping that a condition holds for.
sub regions
{
	my ($pid, $condition, $callback) = @_;
	my @maps;
	for (split /\n/, slurp("/proc/$pid/smaps"))
	{
		if (/^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)/)
		{
			push @maps, { from => hex $1, size => hex($2) - hex $1, rights => $3, name => $4 };
		}
		$maps[-1]{flags} = $1 if /^VmFlags: (.*)/;
	}
	open my $file, '<:raw', "/proc/$pid/mem" or die "/proc/$pid/mem: $!";
	for my $map (grep { $_->{rights} =~ /^r/ && $_->{name} !~ /^\[v/ && $condition->($_) } @maps)
	{
		my $contents = '';
		sysseek $file, $map->{from}, 0 or die "seek: $!";
		while ((my $left = $map->{size} - length $contents) > 0)
		{
			last unless sysread $file, $contents, $left, length $contents;
		}
		$callback->($map->{name} || 'anonymous', \$contents);
	}
	return;
}

# locked returns the contents of a process's arenas: memory that is locked, and that a child does not get.
sub locked
{
	my ($pid) = @_;
	my $all = '';
	regions($pid, sub { $_[0]{flags} =~ /\blo\b/ && $_[0]{flags} =~ /\bdc\b/ }, sub { $all .= ${ $_[1] } });
	return $all;
}

# occurrences returns the names of the mappings that hold a string, once for each time.
sub occurrences
{
	my ($pid, $string) = @_;
	my @names;
	regions($pid, sub { 1 }, sub { push @names, ($_[0]) x (() = ${ $_[1] } =~ /\Q$string\E/g) });
	return @names;
}

# needles prepares a search for streams of a rate: s16 => bytes, f32 => bytes.
sub needles
{
	my ($rate, %streams) = @_;
	my $step = int $stride * $rate;
	my %keys;
	for my $encoding (keys %streams)
	{
		my $size = $encoding eq 's16' ? 2 : 4;
		my @samples = $size == 2 ? map { $_ / 32768 } unpack 's<*', $streams{$encoding}
		  : unpack 'f<*', $streams{$encoding};
		for (my $at = 0; $at + $key_samples <= @samples; $at += $step)
		{
			my %levels = map { $_ => 1 } @samples[ $at .. $at + $key_samples - 1 ];
			next if keys %levels < $key_samples;
			next if grep { !(abs $_ > $soft && abs $_ <= 1) } keys %levels;
			$keys{ substr $streams{$encoding}, $at * $size, $key_samples * $size } =
			  { bytes => \$streams{$encoding}, at => $at * $size, size => $size, encoding => $encoding };
		}
	}
	my $any = join('|', map { quotemeta } keys %keys) || '(?!)';
	return { rate => $rate, keys => \%keys, any => qr/($any)/ };
}

# same tells how many bytes two strings have in common at their start.
sub same { return ($_[0] ^ $_[1]) =~ /^(\0+)/ ? length $1 : 0 }

# around tells how many bytes of a stream there are before and from a key that is found in memory.
sub around
{
	my ($memory, $found, $key) = @_;
	my $room = (sort { $a <=> $b } $key->{at}, $found, $longest)[0];
	my $before = same(scalar reverse(substr $$memory, $found - $room, $room),
		scalar reverse(substr ${ $key->{bytes} }, $key->{at} - $room, $room));
	return ($before,
		same(substr($$memory, $found, $longest), substr(${ $key->{bytes} }, $key->{at}, $longest)));
}

# pieces returns the pieces of streams that are in a process's memory: { seconds, where }.
sub pieces
{
	my ($pid, $needles) = @_;
	my @pieces;
	my $search = sub {
		my ($name, $memory) = @_;
		while ($$memory =~ /$needles->{any}/g)
		{
			my $key = $needles->{keys}{$1};
			my $found = $-[0];
			my ($before, $after) = around($memory, $found, $key);
			pos($$memory) = $found + $after;
			push @pieces, { seconds => ($before + $after) / $key->{size} / $needles->{rate},
				where => "$key->{encoding} in $name" };
		}
	};
	regions($pid, sub { 1 }, $search);
	return @pieces;
}

1;
