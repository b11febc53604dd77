/*
 * lasting.h
 *		Tokens that would outlast the transaction they are set in.
 */
#ifndef CAUCE_LASTING_H
#define CAUCE_LASTING_H

/* LastingInit defines cauce.token_transaction_only and has every transaction looked at before it commits. */
extern void LastingInit(void);

/* LastingRefused tells whether a token must end with its transaction. */
extern bool LastingRefused(void);

#endif
