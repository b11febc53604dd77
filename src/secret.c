/*
 * secret.c
 *		Locked, wiped memory for keys.
 */
#include "postgres.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "miscadmin.h"

#include "secret.h"

/*
 * Room for eleven years of daily epoch keys (32 bytes each), the master keys
 * and the cache of data keys. A power of two, as the secure heap wants it.
 */
#define SECRET_HEAP_BYTES (512 * 1024)
#define SECRET_CELL_BYTES 32

/*
 * What RLIMIT_CORE must be for no core dump at all (Linux, fs/coredump.c): a core file is
 * not begun below one page, but a program that core_pattern pipes cores to gets them whole
 * under 0. 1 is the value at which the kernel refuses that as well.
 */
#define NO_CORE_BYTES 1

static void PrepareHeap(void);

/* SecretAlloc takes zeroed bytes from the locked heap. */
void *
SecretAlloc(Size size)
{
	void *secret;

	PrepareHeap();
	secret = OPENSSL_secure_zalloc(size);
	if (secret == NULL || !CRYPTO_secure_allocated(secret))
	{
		OPENSSL_clear_free(secret, size);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of locked memory for keys"),
						errdetail("The locked heap holds %d bytes; %zu more were asked for.",
								  SECRET_HEAP_BYTES, size)));
	}
	return secret;
}

/* SecretFree wipes and releases. */
void
SecretFree(void *secret, Size size)
{
	if (secret != NULL)
		OPENSSL_secure_clear_free(secret, size);
}

/* SecretWipe overwrites bytes in a way that the compiler keeps; explicit_bzero has the widest stores. */
void
SecretWipe(void *bytes, Size size)
{
	explicit_bzero(bytes, size);
}

/* WipingFree overwrites all that malloc gave, then frees it. */
void
WipingFree(void *bytes)
{
	if (bytes == NULL)
		return;
	OPENSSL_cleanse(bytes, malloc_usable_size(bytes));
	free(bytes);
}

/* RefuseCore lowers the limit for good; where it is 0 already, which would let pipes through, it takes another way. */
static bool
RefuseCore(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) != 0)
		return false;
	if (limit.rlim_max < NO_CORE_BYTES)
		return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
	limit.rlim_cur = limit.rlim_max = NO_CORE_BYTES;
	return setrlimit(RLIMIT_CORE, &limit) == 0;
}

/* SecretRefuseCore does so once. */
void
SecretRefuseCore(void)
{
	static int refused_pid = 0;

	if (refused_pid == MyProcPid)
		return;
	if (!RefuseCore())
		ereport(LOG, (errmsg("could not refuse core dumps of this process: %m"),
					  errdetail("Content could reach a core file.")));
	refused_pid = MyProcPid;
}

/* PrepareHeap makes the locked heap once a process: locks are not inherited by fork. */
static void
PrepareHeap(void)
{
	if (CRYPTO_secure_malloc_initialized())
		return;
	SecretRefuseCore();
	switch (CRYPTO_secure_malloc_init(SECRET_HEAP_BYTES, SECRET_CELL_BYTES))
	{
		case 0:
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
							errmsg("could not make the locked heap for keys: %m")));
			break;
		case 1:
			break;
		default:
			ereport(
				LOG,
				(errmsg("could not lock %d bytes of memory for keys: %m", SECRET_HEAP_BYTES),
				 errhint(
					 "Raise LimitMEMLOCK of the server; until then keys may be swapped to disk.")));
			break;
	}
}
