/*
 * login.h
 *		The account that a database login is: account.login_role.
 */
#ifndef CAUCE_LOGIN_H
#define CAUCE_LOGIN_H

#include "jose.h"

/* LoginInit installs the hook that knows a connection's login from its first byte on. */
extern void LoginInit(void);

/*
 * LoginClaims is what a token would say for the account whose login_role authenticated this connection:
 * scope app, purpose care, no expiry. NULL where it is nobody's. It looks the account up where it has
 * to, without a snapshot of the transaction's; in a process that cannot look, it gives what it knew last.
 */
extern const TokenClaims *LoginClaims(void);

/* LoginKnown is what LoginClaims gave last, without any look-up. */
extern const TokenClaims *LoginKnown(void);

/* LoginMayBe tells whether the login is an account's, or could be one's as long as nobody has looked. */
extern bool LoginMayBe(void);

/* LoginForget makes the next LoginClaims look again. No catalog access. */
extern void LoginForget(void);

/* LoginAskAgain makes it look whether anything has changed since it was asked last. */
extern void LoginAskAgain(void);

/* LoginChannel is how the client is connected whose login counts in this process (channel.h). */
extern int LoginChannel(void);

#endif
