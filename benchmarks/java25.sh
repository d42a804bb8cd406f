#!/bin/sh
# java25.sh: prints a java of version 25 or newer: $JAVA where that is set, else the first on the PATH, in $JAVA_HOME and the usual folders. Exit code 2 without one.
if [ -n "${JAVA:-}" ]; then set -- "$JAVA"
else set -- java "${JAVA_HOME:-}/bin/java" /usr/lib/jvm/*/bin/java "$HOME"/.sdkman/candidates/java/*/bin/java /Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java; fi
for java; do
  version=$("$java" -XshowSettings:properties -version 2>&1 | awk '$1 == "java.specification.version" { print int($3) }')
  if [ "${version:-0}" -ge 25 ]; then echo "$java"; exit; fi
done
echo "${JAVA:-java on the PATH, in JAVA_HOME and the usual folders} is not of version 25 or newer: name a JDK 25 by JAVA=/path/to/bin/java" >&2
exit 2
