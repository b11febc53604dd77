/*
 * rules.c
 *	  Folds words and finds phrases.
 */
#include "rules.h"

#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

#include "text.h"

/*
 * FoldWords gives the words of a text without case and accents, with one space before and behind
 * each; NULL if there is no memory. Compatibility decomposition takes accents off their letters, and
 * marks are then left out (Unicode Standard Annex 15).
 */
static char *
FoldWords(const char *text)
{
	size_t length = 0;
	uint8_t *folded =
		u8_casefold((const uint8_t *) text, strlen(text), NULL, UNINORM_NFKD, NULL, &length);
	char *words = folded == NULL ? NULL : malloc(length + 3);
	const uint8_t *from = folded;
	const uint8_t *end = folded + length;
	size_t used = 0;

	while (words != NULL && from < end)
	{
		ucs4_t character;
		int size = u8_mbtouc(&character, from, (size_t) (end - from));

		if (uc_is_property_alphabetic(character) || uc_is_property_numeric(character))
		{
			if (used == 0)
				words[used++] = ' ';
			memcpy(words + used, from, (size_t) size);
			used += (size_t) size;
		}
		else if (!uc_is_general_category_withtable(character, UC_CATEGORY_MASK_M) &&
				 character != '\'' && character != 0x2019 && used > 0 && words[used - 1] != ' ')
			words[used++] = ' ';
		from += size;
	}
	if (words != NULL)
	{
		if (used > 0 && words[used - 1] != ' ')
			words[used++] = ' ';
		words[used] = '\0';
	}
	free(folded);
	return words;
}

static void
FreeRule(Rule *rule)
{
	free(rule->id);
	free(rule->pattern);
	free(rule->kind);
	free(rule->severity);
	free(rule->words);
	memset(rule, 0, sizeof(*rule));
}

bool
RulesAdd(Rules *rules, const char *id, const char *pattern, const char *kind, const char *severity)
{
	Rule rule = {.id = strdup(id),
				 .pattern = strdup(pattern),
				 .kind = strdup(kind),
				 .severity = strdup(severity),
				 .words = FoldWords(pattern)};
	Rule *more;

	if (rule.words != NULL && rule.words[0] == '\0')
	{
		FreeRule(&rule);
		return true;
	}
	more = rules->count == RULES_MAX
			   ? NULL
			   : realloc(rules->rules, (rules->count + 1) * sizeof(*rules->rules));
	if (more != NULL)
		rules->rules = more;
	if (more == NULL || rule.id == NULL || rule.pattern == NULL || rule.kind == NULL ||
		rule.severity == NULL || rule.words == NULL)
	{
		FreeRule(&rule);
		return false;
	}
	rules->rules[rules->count++] = rule;
	return true;
}

size_t
RulesMatch(const Rules *rules, const char *text, const Rule **matching, size_t most)
{
	char *words = rules->count == 0 ? NULL : FoldWords(text);
	size_t count = 0;
	size_t i;

	for (i = 0; words != NULL && i < rules->count && count < most; i++)
	{
		if (strstr(words, rules->rules[i].words) != NULL)
			matching[count++] = &rules->rules[i];
	}
	TextFree(words);
	return count;
}

void
RulesClear(Rules *rules)
{
	size_t i;

	for (i = 0; i < rules->count; i++)
		FreeRule(&rules->rules[i]);
	free(rules->rules);
	memset(rules, 0, sizeof(*rules));
}
