/// From files to batches: read and check (`DataFile`), tokenise with masks by construction (`Examples`), look at the masks
/// (`MaskReport`), keep (`DataSet`), order and pack (`StepPlan`). Nothing here touches a tensor. Read `StepPlan` first.
package org.llmcore.data;
