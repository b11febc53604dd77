/*
 * retention.h
 *		Archiving and erasing what is due.
 */
#ifndef CAUCE_RETENTION_H
#define CAUCE_RETENTION_H

typedef struct RetentionResult
{
	int64 run; /* id in cauce.retention_run */
	int archived;
	int deleted;
	int failed;
	bool held; /* the clock is not trusted, so nothing was looked for */
} RetentionResult;

/*
 * FollowsPublisher tells whether this database subscribes to the sessions of another:
 * what ends there ends here, and nothing may end here first.
 */
extern bool FollowsPublisher(void);

/*
 * RetentionRun processes at most max_sessions due sessions and archives in the
 * current transaction, each in a subtransaction of its own. Rows that another
 * runner or a writer holds are left to the next run; at a subscriber, and while the clock
 * is not trusted, all are.
 */
extern void RetentionRun(int max_sessions, RetentionResult *result);

/*
 * SQL expressions: when to try again what has failed for the first time, and what failure f.attempts is of: after a
 * minute, doubling to a day, with jitter.
 */
#define RETRY_FIRST "now() + interval '1 minute' * (0.75 + random() / 2)"
#define RETRY_NEXT                                                                                 \
	"now() + least(interval '1 day', interval '1 minute' * 2 ^ least(f.attempts, 11))"             \
	" * (0.75 + random() / 2)"

#endif
