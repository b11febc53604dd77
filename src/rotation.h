/*
 * rotation.h
 *		New data keys for what is sealed: rotation, in the background.
 */
#ifndef CAUCE_ROTATION_H
#define CAUCE_ROTATION_H

/*
 * RotationRun goes on with what cauce.rotate_data_keys() has asked for, in transactions of
 * its own: batch new keys at a time, one session's content at a time. What fails is a
 * warning and tried again in the next run.
 */
extern void RotationRun(int batch);

#endif
