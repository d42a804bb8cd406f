/// Decorators of `Device`: because a kernel call is data, timing, looking for NaN and comparing with the reference need no
/// line in any kernel. Read `CheckedDevice` first; `org.llmcore.Devices` puts them on when the environment asks.
package org.llmcore.trace;
