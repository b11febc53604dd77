# Models that know four tones (test/models/tones.mjs), and speech with such tones in it: what a model says when,
# and how sure it is, is known here beforehand.
package Tones;

use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use Test::More;
use Worker;

our @EXPORT = qw(tone_models tone_file tone_ms tone_sure);

my $rate = 16000;
my %tone = (four => 3836, teen => 4736, six => 5814, seven => 6650);    # Hz: the middles of the models' bands
my %sure = (four => 0.9, teen => 0.8, six => 0.6, seven => 0.95);
my $beep = 0.12;                                                          # seconds that a tone lasts

# A model gives times in frames of its encoder of 40 ms; a tone may be heard half a window of 25 ms before its frame.
sub tone_ms { return 40 + 13 }

# tone_sure is the confidence that tones have together, at a temperature: the engine divides logits by it.
sub tone_sure
{
	my ($temperature, @names) = @_;
	my $sum = 0;
	$sum -= log 1 + (1 / $sure{$_} - 1)**(1 / $temperature) for @names;
	return exp($sum / @names);
}

# tone_models writes the models once and returns the path of a configuration: offline, streaming or ctc.
sub tone_models
{
	my ($name) = @_;
	my $directory = scratch() . '/tones';
	if (!-e $directory)
	{
		mkdir $directory or die "$directory: $!";
		my $program = dirname(abs_path(__FILE__)) . '/../models/tones.mjs';
		my $vad = abs_path(dirname(worker_path()) . '/engine/silero_vad.onnx');
		system('node', $program, $directory, $vad) == 0 or die $program;
	}
	return "$directory/$name.json";
}

# tone_file writes a WAV file of low speech with silence after it, and tones: [seconds, name].
sub tone_file
{
	my ($name, $wav, @tones) = @_;
	my @samples = unpack 's<*', pcm(sox("$name-low.wav", '-v', 0.2, $wav, 'OUT', 'pad', 0.5, 1));
	for (@tones)
	{
		my ($at, $which) = @$_;
		my $first = int $at * $rate;
		for my $i (0 .. $beep * $rate - 1)
		{
			$samples[ $first + $i ] += int 10000 * sin 2 * 3.14159265358979 * $tone{$which} * $i / $rate;
		}
	}
	my $raw = spew(scratch() . "/$name.raw", pack 's<*', @samples);
	return sox("$name.wav", '-t', 'raw', '-r', $rate, '-e', 'signed', '-b', 16, '-c', 1, $raw, 'OUT');
}
1;
