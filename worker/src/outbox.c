/*
 * outbox.c
 *	  A list of messages. What they say is wiped with the heap that it is in (wipe.c).
 */
#include "outbox.h"

#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>

bool
OutboxInit(Outbox *outbox)
{
	memset(outbox, 0, sizeof(*outbox));
	return pthread_mutex_init(&outbox->lock, NULL) == 0;
}

bool
OutboxPut(Outbox *outbox, const char *text, size_t length)
{
	Message *message = malloc(sizeof(*message) + LWS_PRE + length);

	if (message == NULL)
		return false;
	message->next = NULL;
	message->length = length;
	message->text = (unsigned char *) (message + 1) + LWS_PRE;
	memcpy(message->text, text, length);
	pthread_mutex_lock(&outbox->lock);
	if (outbox->last == NULL)
		outbox->first = message;
	else
		outbox->last->next = message;
	outbox->last = message;
	outbox->bytes += length;
	pthread_mutex_unlock(&outbox->lock);
	return true;
}

Message *
OutboxTake(Outbox *outbox)
{
	Message *message;

	pthread_mutex_lock(&outbox->lock);
	message = outbox->first;
	if (message != NULL)
	{
		outbox->first = message->next;
		if (outbox->first == NULL)
			outbox->last = NULL;
		outbox->bytes -= message->length;
	}
	pthread_mutex_unlock(&outbox->lock);
	return message;
}

bool
OutboxEmpty(Outbox *outbox)
{
	bool empty;

	pthread_mutex_lock(&outbox->lock);
	empty = outbox->first == NULL;
	pthread_mutex_unlock(&outbox->lock);
	return empty;
}

bool
OutboxCrowded(Outbox *outbox)
{
	bool crowded;

	pthread_mutex_lock(&outbox->lock);
	crowded = outbox->bytes > OUTBOX_CROWDED;
	pthread_mutex_unlock(&outbox->lock);
	return crowded;
}

void
MessageFree(Message *message)
{
	free(message);
}

void
OutboxDestroy(Outbox *outbox)
{
	Message *message;

	while ((message = OutboxTake(outbox)) != NULL)
		MessageFree(message);
	pthread_mutex_destroy(&outbox->lock);
}
