package org.llmcore.cpu;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

import org.llmcore.flags.Flags;

/// The vector width of the process, as constants that `Lanes` inherits: an interface is initialised when a constant is first
/// read, so a run on machine code never loads the Vector API.
interface Width {
  /// The widest vectors of this CPU, at most 16 lanes, or what LLM_CPU_TIER asks for.
  VectorSpecies<Float> F = species();

  /// Lanes of a vector.
  int N = F.length();

  private static VectorSpecies<Float> species() {
    return switch (Flags.cpuTier()) {
      case VECTOR128 -> FloatVector.SPECIES_128;
      case VECTOR256 -> FloatVector.SPECIES_256;
      case VECTOR512 -> FloatVector.SPECIES_512;
      case AUTO, SCALAR, VECTOR, AVX512, AVX512BF16, AMX ->
          FloatVector.SPECIES_PREFERRED.length() > 16 ? FloatVector.SPECIES_512 : FloatVector.SPECIES_PREFERRED;
    };
  }
}
