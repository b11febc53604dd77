/*
 * libjose.h
 *		libjose and jansson, without the clash of names with the server.
 *
 * The server exports a function json_object() of its own, and so does jansson.
 * A library that the server loads would find the server's first. Therefore
 * libjose is not linked but loaded with RTLD_DEEPBIND, which makes it find its
 * own dependencies first (dlopen(3)), and this is the only header that includes
 * jansson's. jansson's json_object() itself is not to be called from here.
 */
#ifndef CAUCE_LIBJOSE_H
#define CAUCE_LIBJOSE_H

#define json_object jansson_json_object
#include <jansson.h>
#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/jws.h>
#undef json_object

/* The functions of libjose that cauce uses; their manual is <jose/…h>. */
typedef struct LibJose
{
	size_t (*b64_dec)(const json_t *text, void *out, size_t size);
	json_t *(*b64_enc)(const void *in, size_t size);
	size_t (*b64_enc_buf)(const void *in, size_t size, void *out, size_t room);
	json_t *(*b64_enc_dump)(const json_t *tree);
	bool (*jwk_gen)(jose_cfg_t *cfg, json_t *jwk);
	bool (*jwk_pub)(jose_cfg_t *cfg, json_t *jwk);
	bool (*jws_ver)(jose_cfg_t *cfg, const json_t *jws, const json_t *sig, const json_t *jwk,
					bool all);
} LibJose;

extern LibJose libjose;

/* LibJoseInit loads the library, raises 58P01 when it is missing, and makes jansson wipe what it frees. */
extern void LibJoseInit(void);

#endif
