/*
 * demo.h
 *	  A page to try the server with, made from demo.html by demo.mjs.
 */
#ifndef CAUCE_DEMO_H
#define CAUCE_DEMO_H

/* The page's text, and a policy that allows its own script and style and a connection to this server. */
extern const char demoPage[];
extern const char demoPolicy[];

#endif
