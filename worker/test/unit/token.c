/*
 * token.c
 *	  The session id is found in a stream token, and nothing else passes for one.
 *
 * Parts: token.c arena.c report.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <jose/b64.h>

#include "token.h"

#define ID "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"

/* Parse wraps a payload as a JWT would. */
static const char *
Parse(const char *payload, char id[SESSION_ID_LENGTH + 1])
{
	char token[8192] = "eyJhbGciOiJFUzI1NiJ9.";
	size_t used = strlen(token);
	size_t length = jose_b64_enc_buf(payload, strlen(payload), token + used, 8000);

	assert_true(length != SIZE_MAX);
	snprintf(token + used + length, sizeof(token) - used - length, ".c2ln");
	return TokenParse(token, id);
}

static void
finds_the_session(void **state)
{
	char id[SESSION_ID_LENGTH + 1];

	(void) state;
	assert_null(Parse("{\"sub\":\"a\",\"scope\":\"stream\",\"session\":\"" ID "\"}", id));
	assert_string_equal(id, ID);
}

static void
refuses_the_rest(void **state)
{
	static const char *const tokens[] = {"",	   ".",		 "..",		 "a.b",
										 "a..c",   ".e30.c", "a.e30.",	 "a.e30.c.d",
										 "a.!!.c", "a.e3.c", "a b.c d.e"};
	static const char *const payloads[] = {"{}",
										   "[]",
										   "\"" ID "\"",
										   "{\"session\":1}",
										   "{\"session\":\"x\"}",
										   "{\"session\":\"" ID "0\"}",
										   "{\"session\":\"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5\"}",
										   "{\"session\":\"0190a1b2-c3d4-7e5f-8a9b_0c1d2e3f4a5b\"}",
										   "{\"session\":\"" ID "\""};
	char id[SESSION_ID_LENGTH + 1];
	size_t i;

	(void) state;
	for (i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		assert_non_null(TokenParse(tokens[i], id));
	for (i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
		assert_non_null(Parse(payloads[i], id));
}

static void
refuses_a_payload_that_is_too_large(void **state)
{
	char payload[5000];
	char id[SESSION_ID_LENGTH + 1];

	(void) state;
	memset(payload, ' ', sizeof(payload));
	memcpy(payload, "{\"session\":\"" ID "\"}", 13 + SESSION_ID_LENGTH + 1);
	payload[sizeof(payload) - 1] = '\0';
	assert_non_null(Parse(payload, id));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_session),
		cmocka_unit_test(refuses_the_rest),
		cmocka_unit_test(refuses_a_payload_that_is_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
