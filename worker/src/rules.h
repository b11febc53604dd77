/*
 * rules.h
 *	  Phrases that raise an alert when they are said.
 *
 * A phrase matches where its words stand one after the other in a text. Words are what letters and
 * digits make; case, accents and everything between words do not count.
 */
#ifndef CAUCE_RULES_H
#define CAUCE_RULES_H

#include <stdbool.h>
#include <stddef.h>

#define RULES_MAX 1000 /* that are looked for in a stream */

typedef struct Rule
{
	char *id; /* a uuid as text */
	char *pattern; /* as somebody wrote it */
	char *kind;
	char *severity;
	char *words; /* the pattern's, folded, each with a space before and behind */
} Rule;

typedef struct Rules
{
	Rule *rules;
	size_t count;
} Rules;

/*
 * RulesAdd copies a rule. One without a word matches nothing and is left out. Returns false if there
 * is no memory, or there are RULES_MAX already.
 */
extern bool RulesAdd(Rules *rules, const char *id, const char *pattern, const char *kind,
					 const char *severity);

/* RulesMatch writes up to most of the rules that match a text and returns how many. */
extern size_t RulesMatch(const Rules *rules, const char *text, const Rule **matching, size_t most);

/* RulesClear frees all. */
extern void RulesClear(Rules *rules);

#endif
