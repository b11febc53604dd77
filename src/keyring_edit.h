/*
 * keyring_edit.h
 *		Making a keyring, and changing the one there is.
 *
 * A change is whole or not at all, and no part of a transaction: it stays when the
 * transaction is rolled back. Whatever it adds is stored before anything is wrapped
 * under it. Processes notice at their next use. Each function raises 55000 where
 * the keyring cannot be read or written.
 */
#ifndef CAUCE_KEYRING_EDIT_H
#define CAUCE_KEYRING_EDIT_H

#include "shared.h"

/* KeyringEditInit defines cauce.epoch_days. */
extern void KeyringEditInit(void);

/* KeyringCreate makes a new keyring; raises 55000 when there is one. */
extern void KeyringCreate(void);

/* KeyringExtend adds epoch keys when fewer than the horizon and half a year are left. */
extern void KeyringExtend(void);

/*
 * KeyringAddMaster adds a master key unless one is there that is not in use yet, and
 * with use puts it in use. Its number.
 */
extern uint32 KeyringAddMaster(bool use);

/* KeyringRetireMaster marks a master key for destruction; raises 22023 for the one in use or none. */
extern void KeyringRetireMaster(uint32 master);

/*
 * KeyringEnded tells whether there is anything to destroy before the day: an epoch
 * that has ended, a retired master key; false where the keyring is read-only.
 */
extern bool KeyringEnded(EpochDay today);

/*
 * KeyringDestroy destroys epoch keys before the day, and retired master keys, that are not
 * needed; gives how many. None where the keyring is being changed.
 */
extern int KeyringDestroy(EpochDay today, const KeyringNeeds *needs);

#endif
