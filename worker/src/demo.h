/*
 * demo.h
 *	  A page to try the server with.
 */
#ifndef CAUCE_DEMO_H
#define CAUCE_DEMO_H

/* Everything is in the page itself; it may talk to this server only. */
#define DEMO_POLICY                                                                                \
	"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src "      \
	"'self'; frame-ancestors 'none'"

/* The page's text, made from demo.html by the Makefile. */
extern const char demoPage[];

#endif
