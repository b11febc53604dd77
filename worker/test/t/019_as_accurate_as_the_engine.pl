# What the worker makes of speech - voice detection, segments, resampling - costs no words: over recorded utterances
# its word error rate is at most 1 point above that of the bare engine, which gets each file whole. Nor does it that
# engine/moonshine.mjs writes the models anew: their two forms, for processors with VNNI and for all, say the same, and
# that is at most 1 point worse than what the published models say.
#
# The utterances are the LibriVox recordings (16 kHz) and the announcements of Debian's asterisk-core-sounds-en-wav
# (8 kHz): all whose text has four words or more and no sign that is read aloud. CAUCE_LONG=1 takes all of them,
# otherwise a few of which the first word starts with the file, as it does in a stream that begins late.
use strict;
use warnings;
use File::Basename qw(dirname);
use FindBin;
use JSON::PP;
use POSIX ();
use Test::More;
use Worker;

my $models = dirname(dirname($FindBin::Bin)) . '/node_modules/@moonshine-ai/moonshine-js/dist/model/tiny/quantized';
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
my %seconds;

# engine gives what the bare engine with some models hears in each file.
sub engine
{
	my ($models) = @_;
	my %text;
	for (split /\n/, qx($build/bare $models whole @files))
	{
		my ($file, $seconds, $text) = split /\t/;
		($text{$file}, $seconds{$file}) = ($text, $seconds);
	}
	is(scalar keys %text, scalar @files, 'the engine has heard them all');
	return %text;
}

my %engine = engine('-');
my $json = JSON::PP->new->utf8;
my $published = $json->decode(slurp("$build/engine/models.json"));
$published->{$_} = "$build/engine/$published->{$_}" for qw(vad tokens);
$published->{moonshine} = { encoder => "$models/encoder_model.onnx", merged_decoder => "$models/decoder_model_merged.onnx" };
my %published = engine(spew(scratch() . '/published.json', $json->encode($published)));

SKIP:
{
	skip 'this processor has no VNNI', 2 if slurp('/proc/cpuinfo') !~ /\bavx(?:512)?_vnni\b/;
	my %any = engine("$build/engine/models.json");
	is_deeply(\%engine, \%any, 'on a processor with VNNI the same is heard as on any other');
}

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
	my ($name, $one, $other, @some) = @_;
	my ($words, $errors, $others) = (0, 0, 0);
	for my $file (@some)
	{
		my @wrong = map { distance($text{$file}, $_->{$file} // '') } $one, $other;
		$words += words($text{$file});
		$errors += $wrong[0];
		$others += $wrong[1];
		note "$wrong[0], not $wrong[1]: $file\n said    $text{$file}\n heard  " . ($one->{$file} // '') . "\n instead" . ($other->{$file} // '')
		  if $wrong[0] != $wrong[1];
	}
	cmp_ok($errors - $others, '<=', POSIX::ceil($words / 100),
		sprintf "$name: %d files, %d words, word error rate %.2f %%, not %.2f %%",
		scalar @some, $words, 100 * $errors / $words, 100 * $others / $words);
	return;
}

my @short = grep { $seconds{$_} <= $whole_max } @files;
compare('the worker and the engine alone', \%worker, \%engine, @files);
compare("the same, up to $whole_max s, which the model is made for", \%worker, \%engine, @short);
compare("the models as they are and as published, up to $whole_max s", \%engine, \%published, @short);

done_testing();
