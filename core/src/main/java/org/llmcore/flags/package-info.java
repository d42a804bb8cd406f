/// Every knob of the environment, each with its sentence. Nothing else in the engine reads the environment.
package org.llmcore.flags;
