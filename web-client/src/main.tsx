import { render } from 'preact';
import './styles/base.css';
import './styles/pages.css';
import { App } from './ui/App.tsx';

render(<App />, document.getElementById('app')!);
