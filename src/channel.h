/*
 * channel.h
 *		How a client is connected: keys open over a unix socket or good TLS only.
 */
#ifndef CAUCE_CHANNEL_H
#define CAUCE_CHANNEL_H

/* ChannelInit defines cauce.min_tls. */
extern void ChannelInit(void);

/*
 * ChannelOfClient tells how this process's client is connected, as a number that is higher the
 * safer it is and never 0. A process without a client of its own is safe: it serves one that was looked at.
 */
extern int ChannelOfClient(void);

/* ChannelIsSafe tells whether keys may open over a channel, as cauce.min_tls is now. */
extern bool ChannelIsSafe(int channel);

#endif
