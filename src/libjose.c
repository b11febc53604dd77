/*
 * libjose.c
 *		Loading libjose beside the server's own symbols.
 */
#include "postgres.h"

#include <dlfcn.h>

#include "libjose.h"
#include "secret.h"

#define LIBJOSE_FILE "libjose.so.0"

LibJose libjose;

/* Find stores the address of one function. */
static void
Find(void *library, const char *name, void *address)
{
	void *found = dlsym(library, name);

	if (found == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("%s has no function %s", LIBJOSE_FILE, name)));
	memcpy(address, &found, sizeof(found));
}

/* LibJoseInit loads the library and its functions. */
void
LibJoseInit(void)
{
	void *library = dlopen(LIBJOSE_FILE, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);

	if (library == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE), errmsg("could not load %s", LIBJOSE_FILE),
						errdetail("%s", dlerror()), errhint("Install the package libjose0.")));
	Find(library, "jose_b64_dec", &libjose.b64_dec);
	Find(library, "jose_b64_enc", &libjose.b64_enc);
	Find(library, "jose_b64_enc_buf", &libjose.b64_enc_buf);
	Find(library, "jose_jwk_gen", &libjose.jwk_gen);
	Find(library, "jose_jwk_pub", &libjose.jwk_pub);
	Find(library, "jose_jws_ver", &libjose.jws_ver);

	/* Keys pass through jansson's trees while a keyring is read or a signature made. */
	json_set_alloc_funcs(malloc, WipingFree);
}
