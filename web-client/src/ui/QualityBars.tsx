import { t } from '../i18n/index.ts';
import type { LinkQuality, QualityGrade } from '../protocol/index.ts';

/** Three bars, and in words what they mean. */
export function QualityBars({ grade, label }: { grade: QualityGrade; label: string }) {
  return (
    <span class={`quality ${grade}`} role="img" aria-label={label} title={label}>
      <i />
      <i />
      <i />
    </span>
  );
}

export function qualityText({ grade, cause }: LinkQuality): string {
  const word = t(`quality.${grade}`);
  return cause ? `${word}: ${t(`quality.cause.${cause}`)}` : word;
}
