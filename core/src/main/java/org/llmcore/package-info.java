/// What every room of the house shares: the one exception that means "the user's input".
package org.llmcore;
