# Word error rates: the one way in which texts are compared here.
#
# Case and punctuation do not count, nor do hyphens, "&" for "and", the short forms of titles, and numbers
# written as digits up to 99.
package Wer;

use strict;
use warnings;
use Exporter 'import';

our @EXPORT = qw(words distance wer);

my %same = (
	mr => 'mister', mrs => 'missus', dr => 'doctor', st => 'saint', okay => 'ok',
	colour => 'color', honour => 'honor', grey => 'gray');
my @ones = qw(zero one two three four five six seven eight nine ten eleven twelve thirteen
  fourteen fifteen sixteen seventeen eighteen nineteen);
my @tens = qw(zero ten twenty thirty forty fifty sixty seventy eighty ninety);

# number spells a number below 100 out; a longer one is read digit by digit.
sub number
{
	my ($n) = @_;
	return map { $ones[$_] } split //, $n if length $n > 2;
	return $ones[$n] if $n < @ones;
	return ($tens[ int $n / 10 ], $n % 10 ? $ones[ $n % 10 ] : ());
}

# words gives the words of a text in one spelling.
sub words
{
	my ($text) = @_;

	$text = lc $text;
	$text =~ s/&/ and /g;
	$text =~ s/\x{2019}/'/g;
	$text =~ s/[^\p{L}\p{N}']+/ /g;
	my @words = map { s/^'+|'+$//gr } split ' ', $text;
	return map { /^\d+$/a ? number($_) : $same{$_} // $_ } grep { length } @words;
}

# distance gives how many words must be put in, left out or replaced to turn one text into another
# (Levenshtein).
sub distance
{
	my @from = words($_[0]);
	my @to   = words($_[1]);
	my @row  = 0 .. @to;

	for my $i (1 .. @from)
	{
		my @next = ($i);
		for my $j (1 .. @to)
		{
			my $best = $row[ $j - 1 ] + ($from[ $i - 1 ] eq $to[ $j - 1 ] ? 0 : 1);
			$best = $row[$j] + 1 if $row[$j] + 1 < $best;
			$best = $next[ $j - 1 ] + 1 if $next[ $j - 1 ] + 1 < $best;
			push @next, $best;
		}
		@row = @next;
	}
	return $row[-1];
}

# wer gives the distance over the number of words of the reference.
sub wer
{
	my ($reference, $text) = @_;
	my $words = words($reference) or die 'the reference holds no word';
	return distance($reference, $text) / $words;
}

1;
