package org.llmcore.op;

import java.util.Map;

/// How a module brings another device: found by `ServiceLoader`, asked for by its name (`LLM_DEVICE`, `--device`).
public interface DeviceProvider {
  /// `cuda`.
  String name();

  /// Opens the first device of this kind.
  /// @throws org.llmcore.InvalidInput in one sentence, if this machine has none that can be used
  Device open();

  /// What `inspect --device` says, by name: devices, driver, kernels, or why there are none. Never throws.
  Map<String, String> describe();
}
