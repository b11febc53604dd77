# What the worker makes of speech - voice detection, segments, resampling - costs no words: over recorded utterances
# its word error rate is at most 1 point above that of the bare engine, which gets each file whole.
#
# The utterances are the LibriVox recordings (16 kHz) and the announcements of Debian's asterisk-core-sounds-en-wav
# (8 kHz): all whose text has four words or more and no sign that is read aloud. CAUCE_LONG=1 takes all of them,
# otherwise a few of which the first word starts with the file, as it does in a stream that begins late.
use strict;
use warnings;
use File::Basename qw(dirname);
use POSIX ();
use Test::More;
use Worker;

my $sounds = '/usr/share/asterisk/sounds/en_US_f_Allison';
my $said = '/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz';
my @few = qw(agent-newlocation enter-num-blacklist followme/pls-hold-while-try privacy-incorrect vm-dialout);
my $whole_max = 30;    # seconds that the model is made for

plan skip_all => "$said is missing: documentation is left out on this machine" if !-e $said;

my @clips = recordings();
my %text = map { $_ => reference($_) } $ENV{CAUCE_LONG} ? @clips : $clips[0];
my $wanted = keys(%text) + ($ENV{CAUCE_LONG} ? 200 : @few);
my %few = map { $_ => 1 } @few;
for (split /\n/, qx(zcat $said))
{
	my ($name, $text) = /^([^;:\s]+):\s*(.*)/ or next;
	next if $text =~ /[^\w\s.,;:!?'"-]/ || (grep { /\w/ } split ' ', $text) < 4 || !-e "$sounds/$name.wav";
	$text{"$sounds/$name.wav"} = $text if $ENV{CAUCE_LONG} || $few{$name};
}
my @files = sort keys %text;
cmp_ok(scalar @files, '>=', $wanted, scalar(@files) . ' utterances');

my $build = dirname(worker_path());
my (%engine, %seconds);
for (split /\n/, qx($build/bare $build/engine/models.json whole @files))
{
	my ($file, $seconds, $text) = split /\t/;
	($engine{$file}, $seconds{$file}) = ($text, $seconds);
}
is(scalar keys %engine, scalar @files, 'the engine has heard them all');

my $session = open_session();
my $token = token_file($session, stream_token($session, '2 hours'));
my %worker;
for my $file (@files)
{
	my $worker = run_worker([ '--dsn', dsn(), '--token-file', $token, '--speaker', $file, $file ]);
	diag $worker->{err} if $worker->{code} ne '0';
}
$worker{ $_->{speaker} } .= " $_->{body}" for transcript($session);

# compare counts words and errors over some of the files: 1 point is one word in a hundred, begun ones included.
sub compare
{
	my ($name, @some) = @_;
	my ($words, $engine, $worker) = (0, 0, 0);
	for my $file (@some)
	{
		my @errors = map { distance($text{$file}, $_->{$file} // '') } \%engine, \%worker;
		$words += words($text{$file});
		$engine += $errors[0];
		$worker += $errors[1];
		note "$errors[0] -> $errors[1]: $file\n said   $text{$file}\n engine$engine{$file}\n worker" . ($worker{$file} // '')
		  if $errors[0] != $errors[1];
	}
	cmp_ok($worker - $engine, '<=', POSIX::ceil($words / 100),
		sprintf '%s: %d files, %d words, word error rate %.2f %%, the engine alone %.2f %%',
		$name, scalar @some, $words, 100 * $worker / $words, 100 * $engine / $words);
	return;
}

compare('all', @files);
compare("up to $whole_max s, which the model is made for", grep { $seconds{$_} <= $whole_max } @files);

done_testing();
