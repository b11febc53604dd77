/*
 * dictionary.h
 *		The preset dictionary of compressed values (RFC 1950, section 2.2).
 *
 * Frequent words of the languages that sessions are held in, the most frequent
 * last, where references to them are shortest. It is part of the stored form:
 * nothing in it can ever change. A better one would be added beside it, as every
 * stream names its own (docs/format.md).
 */
#ifndef CAUCE_DICTIONARY_H
#define CAUCE_DICTIONARY_H

#define DICTIONARY_BYTES 3491
#define DICTIONARY_ADLER32 0xa85d0c00

/* clang-format off */
static const char Dictionary[DICTIONARY_BYTES + 1] =
	"uma mais também muito quando está fazer isso ele ela você porque como mas para "
	"com não que de o a os as um em "
	"anche della sono questo perché come quando più molto essere fare una gli del che "
	"non per con il la di "
	"toujours aussi autre parce quand comme très bien fait faire être avoir était "
	"cette sans plus tout nous vous elle ils mais pour avec dans sur une les des est que "
	"qui pas ne je il la le et de "
	"immer wieder etwas schon noch nach können werden wurde haben hatte wenn aber auch "
	"über mehr oder einen einer eine mit sich auf für von dass ist nicht das ein den "
	"dem im sie er ich es zu und der die "
	"siempre después entonces sesión trabajo también porque cuando donde desde sobre "
	"hasta entre está tiene hacer puede todo más muy bien pero como para con sin una "
	"los las del por que se lo le no su es en un el la de "
	"appointment anxiety depression medication treatment symptoms diagnosis therapy "
	"therapist patient session client sessions meeting manager colleague team project "
	"company employee interview performance feedback agreement goals progress summary "
	"report notes question answer problem reason example relationship marriage husband "
	"wife mother father daughter parents brother sister children friends hospital doctor "
	"school teacher money office evening morning yesterday tomorrow weekend tonight "
	"January February March April May June July August September October November "
	"December Monday Tuesday Wednesday Thursday Friday Saturday Sunday hours minutes "
	"months month year years weeks week days "
	"difficult important different possible together anything everything something "
	"nothing someone everyone perhaps probably actually usually sometimes always never "
	"again already almost enough rather quite although however because without between "
	"against during through before after since until while towards himself herself "
	"themselves another whether herself feeling thought remember understand believe "
	"happened started decided wanted needed worked talked asked called tried helped "
	"agreed described noticed mentioned suggested explained discussed changed learned "
	"left kept found given taken done seen second third first last next other same small "
	"large long short early late young better worse hard place point part side hand head "
	"house home room door life world people person woman child family friend night today "
	"time thing things kind sort little great good right wrong sure able "
	"themselves yourself myself ourselves could should would might must shall cannot "
	"don't didn't doesn't wasn't isn't couldn't I'm it's that's there's going doing "
	"being having making taking coming saying getting looking feels feel felt think know "
	"knows knew said says say tell told make made take took come came goes went want "
	"need work works talk help sleep keep look find give leave still even just only also "
	"very much many more most some such than then them these those they their there "
	"where when what which who whom whose why how here about above across along around "
	"behind below under over into onto from with within have has had having were was "
	"been being are will can may did does not but and for that this the she her his him "
	"you your our its it is he we they I to of in on at by as an or if so no be do up "
	"out ing tion ment ness able ed ly er est re un "
	"it is a in the of the to the and the on the at the for the that he that she he was "
	"she was he has she has I have I was we are there is there was with the from the has "
	"been have been had been would be will be and she and he in a to be as if ";
/* clang-format on */

#endif
