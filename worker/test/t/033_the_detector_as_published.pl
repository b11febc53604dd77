# The voice detector that engine/silero.mjs writes judges as the published one does, at every threshold: speech, speech
# that can hardly be heard for noise, music, silence.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP;
use Test::More;
use Worker;

my $package = abs_path(dirname(__FILE__) . '/../../node_modules/@ricky0123/vad-web/dist');
my $build = dirname(worker_path());
my $configuration = JSON::PP->new->decode(slurp("$build/engine/models.json"));
$_ = "$build/engine/$_" for $configuration->{tokens}, values %{ $configuration->{moonshine} };
$configuration->{vad} = "$package/silero_vad_v6.onnx";
my $published = spew(scratch() . '/published.json', JSON::PP->new->encode($configuration));

my $noise = sox('noise.wav', '-n', '-r', 16000, '-b', 16, 'OUT', 'synth', 25, 'pinknoise', 'gain', '-n', -18);
my ($music) = glob '/usr/share/asterisk/moh/*.wav';
my @files = (
	recording(),
	sox('noisy.wav', '-m', '-v', 0.2, recording(), '-v', 1, $noise, 'OUT', 'trim', 0, 15),
	sox('low.wav', '-m', '-v', 0.1, recording(), '-v', 0.5, $noise, 'OUT', 'trim', 0, 15),
	sox('music.wav', $music, 'OUT', 'trim', 30, 5),
	sox('silence.wav', '-n', '-r', 16000, '-b', 16, 'OUT', 'trim', 0, 5));

# judged gives of each file for each frame at how many thresholds it has voice.
sub judged { return map { (split /\t/)[2] } split /\n/, qx($build/bare $_[0] voice @files) }

my @as_published = judged($published);
my @rewritten = judged("$build/engine/models.json");
is(scalar @as_published, scalar @files, 'the published detector has judged them all');
is($rewritten[$_], $as_published[$_], $files[$_] =~ s{.*/}{}r) for 0 .. $#files;
my %count;
$count{$_}++ for split //, join '', @as_published;
cmp_ok($count{$_} // 0, '>=', 20, "frames with voice at $_ thresholds") for 0 .. 5;

done_testing();
