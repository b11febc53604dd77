/*
 * outbox.h
 *	  Messages to one client, on their way from the sink's thread to the event loop.
 */
#ifndef CAUCE_OUTBOX_H
#define CAUCE_OUTBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct Message
{
	struct Message *next;
	size_t length;
	unsigned char *text; /* with LWS_PRE bytes before it */
} Message;

typedef struct Outbox
{
	pthread_mutex_t lock;
	Message *first;
	Message *last;
	size_t bytes;
} Outbox;

/* A client that has this much to read yet is not listened to until he has. */
#define OUTBOX_CROWDED ((size_t) 262144)

extern bool OutboxInit(Outbox *outbox);

/* OutboxPut copies a message. Returns false if there is no memory. */
extern bool OutboxPut(Outbox *outbox, const char *text, size_t length);

/* OutboxTake gives the oldest message, to be freed with MessageFree, or NULL. */
extern Message *OutboxTake(Outbox *outbox);

extern bool OutboxEmpty(Outbox *outbox);
extern bool OutboxCrowded(Outbox *outbox);
extern void MessageFree(Message *message);
extern void OutboxDestroy(Outbox *outbox);

#endif
