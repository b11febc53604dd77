/*
 * query.c
 *	  Whatever the parameters of /v1/listen are, what is accepted is within its bounds.
 *
 * Parts: deepgram.c request.c text.c answers.c recognition.c outbox.c
 * Most bytes: 4096
 *
 * Input: parameters as libwebsockets gives them out, without their escapes, each up to a line's end.
 */
#include "accepted.h"
#include "deepgram.h"

/* TakeParameter is as the server does it. */
static const char *
TakeParameter(Request *request, char *parameter)
{
	char *value = strchr(parameter, '=');

	if (value == NULL)
		return NULL;
	*value++ = '\0';
	return DeepgramQuery(request, parameter, value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *query = FuzzText(bytes, size);
	const char *problem = NULL;
	char *rest = NULL;
	char *parameter;
	Request request;

	Require(RequestInit(&request, PROTOCOL_DEEPGRAM));
	for (parameter = strtok_r(query, "\n", &rest); problem == NULL && parameter != NULL;
		 parameter = strtok_r(NULL, "\n", &rest))
		problem = TakeParameter(&request, parameter);
	if (problem == NULL)
		problem = DeepgramCheck(&request);
	if (problem == NULL)
		CheckAccepted(&request);
	free(query);
	return 0;
}
