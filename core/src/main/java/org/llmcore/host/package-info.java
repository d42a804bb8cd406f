/// What the operating system is asked directly, without the JDK between: pages of memory and permissions. Anyone in this module
/// may enter; where the system is another one, callers have a way without it. Read `Linux` first.
package org.llmcore.host;
