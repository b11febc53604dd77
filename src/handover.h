/*
 * handover.h
 *		Archives on their way between cauce.archived_session and storage, in the background.
 */
#ifndef CAUCE_HANDOVER_H
#define CAUCE_HANDOVER_H

/*
 * HandoverRun has archives stored, those that a rotation of keys wants brought back, and what erasures have left in
 * storage removed, as far as cauce's settings say how; for a minute at most, and not at a subscriber. Outside of a
 * transaction; it makes its own. What fails is logged, noted and put off.
 */
extern void HandoverRun(void);

#endif
