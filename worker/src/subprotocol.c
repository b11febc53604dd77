/*
 * subprotocol.c
 *	  Lets a token stand in Sec-WebSocket-Protocol.
 *
 * libwebsockets 4.1 reads a list of subprotocols of at most 127 bytes, and a browser has no other header
 * for its token: "token, eyJ…". As the program's symbols come before the library's, this definition is
 * the one that the library calls: where the list is longer than the caller has room for, he is given the
 * name that it begins with.
 */
#include <dlfcn.h>
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>

typedef int (*CopyHeader)(struct lws *wsi, char *copy, int size, enum lws_token_indexes header);

/* CopyFirstName returns the length of the first name of the list, or -1. */
static int
CopyFirstName(CopyHeader copy_header, struct lws *wsi, char *copy, int size)
{
	int length = lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL);
	char *list = malloc((size_t) length + 1);
	int first = -1;

	if (list != NULL && copy_header(wsi, list, length + 1, WSI_TOKEN_PROTOCOL) >= 0)
		first = (int) strcspn(list, ", ");
	if (first >= size)
		first = -1;
	if (first >= 0)
	{
		memcpy(copy, list, (size_t) first);
		copy[first] = '\0';
	}
	free(list); /* which wipes it */
	return first;
}

int
lws_hdr_copy(struct lws *wsi, char *copy, int size, enum lws_token_indexes header)
{
	static CopyHeader copy_header = NULL;

	if (copy_header == NULL)
		copy_header = (CopyHeader) dlsym(RTLD_NEXT, "lws_hdr_copy");
	if (copy_header == NULL)
		return -1;
	if (header == WSI_TOKEN_PROTOCOL && lws_hdr_total_length(wsi, header) >= size)
		return CopyFirstName(copy_header, wsi, copy, size);
	return copy_header(wsi, copy, size, header);
}
